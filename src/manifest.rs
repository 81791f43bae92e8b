//! What the documents of a registry or archive say: indexes, manifests, descriptors, platforms. Pure.
//!
//! The OCI image-spec and docker's schema 2 differ in their media types alone, and many registries
//! mislabel documents; so the shape decides: an index has `manifests`, a manifest has `layers`. One
//! that has both means two things at once and is refused (CVE-2021-41190).

use crate::digest::is_digest;
use crate::error::{printable, Error, Result};
use crate::json::{self, Json};
use crate::order;

/// The documents we can read, for an `Accept` header: indexes, then manifests, OCI's first.
pub const MEDIA_TYPES: &[(&str, Shape)] = &[
    ("application/vnd.oci.image.index.v1+json", Shape::Index),
    ("application/vnd.oci.image.manifest.v1+json", Shape::Manifest),
    ("application/vnd.docker.distribution.manifest.list.v2+json", Shape::Index),
    ("application/vnd.docker.distribution.manifest.v2+json", Shape::Manifest),
];

/// An index may point to indexes; deeper ones are refused.
const MAX_INDEX_DEPTH: usize = 3;
const MAX_DOCUMENTS: usize = 16;

/// Overlayfs stacks 500 directories (OVL_MAX_STACK); some are the engine's own.
const MAX_LAYERS: usize = 480;

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shape {
    Index,
    Manifest,
}

/// A document and what it hashes to.
pub struct Document {
    pub bytes: Vec<u8>,
    pub digest: String,
    pub content_type: String,
}

/// A pointer to content: image-spec descriptor.md.
#[derive(Debug, Clone, PartialEq)]
pub struct Descriptor {
    pub digest: String,
    /// In bytes.
    pub size: u64,
}

impl Descriptor {
    pub fn read(json: &Json) -> Result<Descriptor> {
        let digest = json.get("digest").str().unwrap_or_default();
        if !is_digest(digest) {
            return Err(Error::new(format!(
                "the manifest is malformed: \"{}\" is not sha256: and 64 lower-case hex digits",
                printable(digest)
            )));
        }
        match json.get("size").int().and_then(|size| u64::try_from(size).ok()) {
            Some(size) => Ok(Descriptor { digest: digest.to_string(), size }),
            None => Err(Error::new(format!("the manifest is malformed: {digest} has no size"))),
        }
    }

    /// The digits alone.
    pub fn hex(&self) -> &str {
        self.digest.trim_start_matches("sha256:")
    }

    /// Where an OCI image layout has it: image-layout.md, "Blobs".
    pub fn blob_name(&self) -> String {
        format!("blobs/sha256/{}", self.hex())
    }
}

/// Parses a document and says which kind it is. `content_type` is the response's.
pub fn read(bytes: &[u8], content_type: &str) -> Result<(Shape, Json)> {
    let refuse = |reason: &str| Error::new(format!("the manifest is refused: {reason}"));
    let json = json::parse(bytes).map_err(|error| refuse(&error))?;
    if json.get("schemaVersion").int() != Some(2) {
        return Err(refuse("its schemaVersion is not 2"));
    }
    let shape = match (json.get("manifests").is_null(), json.get("layers").is_null()) {
        (false, true) => Shape::Index,
        (true, false) => Shape::Manifest,
        (false, false) => return Err(refuse("it has layers as well as manifests (CVE-2021-41190)")),
        (true, true) => return Err(refuse("it has neither layers nor manifests")),
    };
    let content_type = content_type.split(';').next().unwrap_or_default().trim();
    for named in [content_type, json.get("mediaType").str().unwrap_or_default()] {
        let known = MEDIA_TYPES.iter().find(|(media_type, _)| *media_type == named);
        if known.is_some_and(|(_, expected)| *expected != shape) {
            return Err(refuse(&format!("it is named {named}, which it is not")));
        }
    }
    Ok((shape, json))
}

/// The descriptors of a manifest: the config, and the layers, the lowest first.
pub fn contents(manifest: &Json) -> Result<(Descriptor, Vec<Descriptor>)> {
    let config = Descriptor::read(manifest.get("config"))?;
    let layers: Result<Vec<Descriptor>> = manifest.get("layers").list().iter().map(layer).collect();
    Ok((config, layers?))
}

fn layer(json: &Json) -> Result<Descriptor> {
    let descriptor = Descriptor::read(json)?;
    let digest = &descriptor.digest;
    if json.get("mediaType").str().is_some_and(|name| name.ends_with("+encrypted")) {
        return Err(Error::new(format!("layer {digest} is encrypted")));
    }
    if !json.get("urls").list().is_empty() {
        return Err(Error::new(format!("layer {digest} is kept outside of the registry (a foreign layer: Windows)")));
    }
    Ok(descriptor)
}

/// A manifest lists as many layers as the config has diff_ids.
pub fn check_count(layers: usize, diff_ids: usize) -> Result<()> {
    match layers == diff_ids {
        true => Ok(()),
        false => Err(Error::new(format!("the image is malformed: {layers} layers, but {diff_ids} diff_ids"))),
    }
}

/// The diff_ids of an image config: the digests of the uncompressed layers, the lowest first.
pub fn diff_ids(config: &Json) -> Result<Vec<String>> {
    let rootfs = config.get("rootfs");
    if rootfs.get("type").str() != Some("layers") {
        return Err(Error::new("the image's config is refused: its rootfs.type is not \"layers\""));
    }
    let digest = |json: &Json| json.str().filter(|text| is_digest(text)).map(str::to_string);
    let ids: Option<Vec<String>> = rootfs.get("diff_ids").list().iter().map(digest).collect();
    match ids {
        Some(ids) if ids.is_empty() => Err(Error::new("the image has no layers: it cannot be run")),
        Some(ids) if ids.len() > MAX_LAYERS => Err(Error::new(format!("the image has more than {MAX_LAYERS} layers"))),
        Some(ids) => Ok(ids),
        None => Err(Error::new("the image's config is refused: a diff_id is not sha256: and 64 hex digits")),
    }
}

// ---- from an index to a manifest ----

/// Brings what a descriptor points to, its digest checked.
pub type Fetch<'a> = &'a mut dyn FnMut(&Descriptor) -> Result<Document>;

/// The way from an index to the manifest for a platform.
struct Search<'a> {
    fetch: Fetch<'a>,
    platform: &'a Platform,
    /// So many documents more are fetched: a hostile index could name thousands.
    left: usize,
    /// The platforms that were met instead.
    seen: Vec<String>,
}

/// The manifest for a platform: the document itself, or what it leads to. `what` is for the error.
pub fn choose(top: Document, platform: &Platform, what: &str, fetch: Fetch) -> Result<(Document, Json)> {
    Search::new(platform, fetch).run(what, |search| search.descend(top, MAX_INDEX_DEPTH))
}

/// The same below an index that was read already.
pub fn choose_below(index: &Json, platform: &Platform, what: &str, fetch: Fetch) -> Result<(Document, Json)> {
    Search::new(platform, fetch).run(what, |search| search.below(index, MAX_INDEX_DEPTH))
}

impl<'a> Search<'a> {
    fn new(platform: &'a Platform, fetch: Fetch<'a>) -> Search<'a> {
        Search { fetch, platform, left: MAX_DOCUMENTS, seen: Vec::new() }
    }

    fn run(
        mut self,
        what: &str,
        search: impl FnOnce(&mut Search) -> Result<Option<(Document, Json)>>,
    ) -> Result<(Document, Json)> {
        search(&mut self)?.ok_or_else(|| {
            let error = Error::new(format!("{what} is not made for {}", self.platform));
            error.hint(format_args!("it is for {}; see --platform", self.seen.join(", ")))
        })
    }

    /// `None` when nothing below the document is for the platform.
    fn descend(&mut self, document: Document, depth: usize) -> Result<Option<(Document, Json)>> {
        match read(&document.bytes, &document.content_type)? {
            (Shape::Manifest, json) => Ok(Some((document, json))),
            (Shape::Index, _) if depth == 0 => {
                Err(Error::new(format!("indexes are nested more than {MAX_INDEX_DEPTH} deep")))
            }
            (Shape::Index, json) => self.below(&json, depth),
        }
    }

    fn below(&mut self, index: &Json, depth: usize) -> Result<Option<(Document, Json)>> {
        for entry in candidates(index, self.platform) {
            let left = self.left.checked_sub(1);
            self.left = left.ok_or_else(|| Error::new(format!("more than {MAX_DOCUMENTS} indexes to look through")))?;
            let nested = (self.fetch)(&Descriptor::read(entry)?)?;
            if let Some(found) = self.descend(nested, depth - 1)? {
                return Ok(Some(found));
            }
        }
        self.seen.push(platforms(index));
        Ok(None)
    }
}

// ---- platforms ----

/// What an image must be made for: image-spec image-index.md, `platform`.
#[derive(Debug, Clone, PartialEq)]
pub struct Platform {
    os: String,
    architecture: String,
    /// Those that run here, the best first; `""` stands for an entry without a variant.
    variants: Vec<String>,
}

/// Rust's name of an architecture, Go's name, and the variants to look for.
const ARCHITECTURES: &[(&str, &str, &[&str])] = &[
    ("x86_64", "amd64", &["", "v1"]),
    ("x86", "386", &[""]),
    ("aarch64", "arm64", &["v8", ""]),
    ("arm", "arm", &["v7", "v6", "v5", ""]),
    ("riscv64", "riscv64", &[""]),
    ("powerpc64", "ppc64le", &[""]),
    ("s390x", "s390x", &[""]),
    ("loongarch64", "loong64", &[""]),
];

impl Platform {
    /// Linux on this machine.
    pub fn here() -> Platform {
        let rust = std::env::consts::ARCH;
        let go = ARCHITECTURES.iter().find(|(name, ..)| *name == rust).map_or(rust, |(_, go, _)| go);
        Platform::new("linux", go, None)
    }

    /// Reads `os/arch[/variant]`.
    pub fn parse(text: &str) -> Result<Platform> {
        let parts: Vec<&str> = text.split('/').collect();
        match parts[..] {
            _ if parts.contains(&"") => {}
            [os, architecture] => return Ok(Platform::new(os, architecture, None)),
            [os, architecture, variant] => return Ok(Platform::new(os, architecture, Some(variant))),
            _ => {}
        }
        Err(Error::new(format!("--platform \"{}\" is not os/arch[/variant]", printable(text))).hint("linux/arm64"))
    }

    fn new(os: &str, architecture: &str, variant: Option<&str>) -> Platform {
        let usual = ARCHITECTURES.iter().find(|(_, go, _)| *go == architecture).map_or(&[""][..], |(.., v)| v);
        let variants = match variant {
            // `arm64` and `arm64/v8` are one thing, as are `amd64` and `amd64/v1`.
            Some(variant) if architecture == "arm" || !usual.contains(&variant) => vec![variant.to_string()],
            _ => usual.iter().map(|variant| variant.to_string()).collect(),
        };
        Platform { os: os.to_string(), architecture: architecture.to_string(), variants }
    }

    /// How well a platform of the registry fits: 0 best, `None` not at all. `json` is the `platform` of
    /// an index's entry, or an image config, which names the same members.
    pub fn rank(&self, json: &Json) -> Option<usize> {
        let member = |name| json.get(name).str().unwrap_or_default();
        if member("os") != self.os || member("architecture") != self.architecture {
            return None;
        }
        self.variants.iter().position(|variant| variant == member("variant"))
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match self.variants[..] {
            [ref only] if !only.is_empty() => write!(f, "/{only}"),
            _ => Ok(()),
        }
    }
}

/// The entries of an index that may lead to the platform, the best first. An entry without a platform
/// may be a nested index, or an image that says it in its config alone: those come last. What is made
/// for `unknown/unknown` is no image but a statement about one (an attestation).
fn candidates<'a>(index: &'a Json, platform: &Platform) -> Vec<&'a Json> {
    let mut ranked: Vec<(usize, &Json)> = index
        .get("manifests")
        .list()
        .iter()
        .filter_map(|entry| match entry.get("platform") {
            Json::Null => Some((usize::MAX, entry)),
            named => platform.rank(named).map(|rank| (rank, entry)),
        })
        .collect();
    order::sort_by_key(&mut ranked, |(rank, _)| *rank); // stable: of equals the first one counts, as in docker
    ranked.into_iter().map(|(_, entry)| entry).collect()
}

/// The platforms of an index, for an error message.
fn platforms(index: &Json) -> String {
    let entries = index.get("manifests").list().iter().filter_map(|entry| {
        let platform = entry.get("platform");
        let parts = ["os", "architecture", "variant"].map(|name| platform.get(name).str().unwrap_or_default());
        let named: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        (!named.is_empty() && parts[0] != "unknown").then(|| printable(&named.join("/")))
    });
    entries.take(32).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Json {
        json::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn the_shape_decides_and_a_wrong_name_is_refused() {
        let index = br#"{"schemaVersion":2,"manifests":[]}"#;
        assert_eq!(read(index, "application/json").unwrap().0, Shape::Index);
        assert_eq!(read(index, "application/vnd.oci.image.index.v1+json; charset=utf-8").unwrap().0, Shape::Index);
        assert!(read(index, "application/vnd.oci.image.manifest.v1+json").is_err());
        let both = br#"{"schemaVersion":2,"manifests":[],"layers":[]}"#;
        assert!(read(both, "").unwrap_err().message.contains("CVE-2021-41190"));
        let lies = br#"{"schemaVersion":2,"layers":[],"mediaType":"application/vnd.oci.image.index.v1+json"}"#;
        assert!(read(lies, "").is_err());
        for text in ["{}", r#"{"schemaVersion":1,"layers":[]}"#, r#"{"schemaVersion":2}"#, "<html>"] {
            assert!(read(text.as_bytes(), "").is_err(), "{text}");
        }
    }

    #[test]
    fn descriptors_are_checked() {
        let hex = "ab".repeat(32);
        let good = format!(r#"{{"digest":"sha256:{hex}","size":3}}"#);
        assert_eq!(Descriptor::read(&json(&good)).unwrap().hex(), hex);
        for bad in [
            format!(r#"{{"digest":"sha256:{hex}","size":-1}}"#),
            format!(r#"{{"digest":"sha256:{hex}"}}"#),
            r#"{"digest":"sha256:../../x","size":3}"#.to_string(),
            "{}".to_string(),
        ] {
            assert!(Descriptor::read(&json(&bad)).is_err(), "{bad}");
        }
        assert!(layer(&json(&good.replace("3}", r#"3,"urls":["http://x"]}"#))).is_err());
    }

    #[test]
    fn the_best_entry_comes_first_and_attestations_not_at_all() {
        let index = json(
            r#"{"manifests":[
                {"digest":"n"},
                {"digest":"6","platform":{"os":"linux","architecture":"arm","variant":"v6"}},
                {"digest":"a","platform":{"os":"unknown","architecture":"unknown"}},
                {"digest":"7","platform":{"os":"linux","architecture":"arm","variant":"v7"}},
                {"digest":"w","platform":{"os":"windows","architecture":"arm"}}]}"#,
        );
        let chosen = |platform: &str| -> Vec<&str> {
            let platform = Platform::parse(platform).unwrap();
            candidates(&index, &platform).iter().map(|entry| entry.get("digest").str().unwrap()).collect()
        };
        assert_eq!(chosen("linux/arm"), ["7", "6", "n"]);
        assert_eq!(chosen("linux/arm/v6"), ["6", "n"]);
        assert_eq!(chosen("linux/amd64"), ["n"]);
        assert_eq!(platforms(&index), "linux/arm/v6, linux/arm/v7, windows/arm");
    }

    #[test]
    fn platforms_are_read_as_docker_does() {
        let arm64 = Platform::parse("linux/arm64/v8").unwrap();
        assert_eq!(arm64, Platform::parse("linux/arm64").unwrap());
        assert_eq!(Platform::parse("linux/arm/v6").unwrap().to_string(), "linux/arm/v6");
        for text in ["", "linux", "linux/", "a/b/c/d", "/amd64"] {
            assert!(Platform::parse(text).is_err(), "{text}");
        }
    }
}
