//! Layers fetched and unpacked side by side: a process for each layer, a few at a time.
//!
//! A worker is a clone(2) of the engine and goes step by step: lock, download, digest, unpack, rename. A layer of
//! an archive (`load`) is not downloaded: its digest is checked where it lies, and it is unpacked from there.
//! It tells the engine how far it is, one message for a step. No thread, no event loop: where a step
//! blocks, one process waits. Workers and their helpers die with the engine (PR_SET_PDEATHSIG).
//!
//! The blob's file is the layer's lock, so of two pulls that want a layer one works and the other
//! waits. It also outlives a pull that was cut off, and the next one goes on where that ended.
//!
//! [`fetch_all`] is the whole of it; what the user sees meanwhile is progress.rs.

use std::io;
use std::path::{Path, PathBuf};

use crate::archive::Shelf;
use crate::curl::Failure;
use crate::digest::{self, Hasher};
use crate::error::{Context, Error, Result};
use crate::idmap::IdMap;
use crate::layer::{self, Target};
use crate::manifest::Descriptor;
use crate::order;
use crate::progress::{Progress, DOWNLOADING};
use crate::registry::Registry;
use crate::rmi::human_size;
use crate::source::Source;
use crate::store::{self, Store};
use crate::sys::{self, Fd, Pid};
use crate::tar::Tar;

/// So many layers at a time: more would share the same line and the same processors.
const MAX_WORKERS: usize = 4;

/// Longer messages are cut.
const MAX_MESSAGE: usize = 8192;

/// A layer that is not in the store.
pub struct Task {
    pub descriptor: Descriptor,
    pub diff_id: String,
    /// Its name under `layers`.
    pub name: String,
}

impl Task {
    pub fn blob(&self, store: &Store) -> PathBuf {
        store.tmp().join(format!("{}.blob", self.descriptor.hex()))
    }

    /// Where it is unpacked. Whoever has the blob's lock may use it.
    fn making(&self, store: &Store, map: &IdMap) -> PathBuf {
        store.tmp().join(format!("{}.layer{}", self.descriptor.hex(), map.key()))
    }

    /// The first digits of the blob's digest, as docker shows them.
    pub fn short(&self) -> &str {
        &self.descriptor.hex()[..12]
    }
}

/// Where blobs come from.
pub enum Supply<'a> {
    Registry(&'a mut Registry),
    Archive(&'a Shelf),
}

/// Where the work is done.
pub struct Site<'a> {
    pub store: &'a Store,
    pub map: &'a IdMap,
    pub tar: Tar,
}

// ---- the engine's side ----

/// A pull or load that did not get all its layers.
pub struct Unfinished {
    pub error: Error,
    /// The line broke, nothing was wrong with what came: it is kept, the next pull resumes.
    pub resumable: bool,
}

struct Worker {
    pid: Pid,
    socket: Fd,
    task: usize,
}

/// Gets all layers. When one fails the others are stopped, and nothing half-made stays but what
/// can be resumed.
pub fn fetch_all(tasks: &[Task], supply: &mut Supply, site: &Site) -> std::result::Result<(), Unfinished> {
    let mut progress = Progress::new(tasks, site.store);
    // The largest first: the end comes sooner when no large one is left for the end.
    let mut queue: Vec<usize> = (0..tasks.len()).collect();
    order::sort_by_key(&mut queue, |task| tasks[*task].descriptor.size);
    let mut workers: Vec<Worker> = Vec::new();
    let mut work = || -> std::result::Result<(), Unfinished> {
        loop {
            while workers.len() < MAX_WORKERS {
                let Some(task) = queue.pop() else { break };
                workers.push(start(task, &tasks[task], supply, site).map_err(refused)?);
            }
            if workers.is_empty() {
                return Ok(());
            }
            for i in ready(&workers, progress.tick()).map_err(refused)?.into_iter().rev() {
                if !hear(&workers[i], &mut progress)? {
                    let ended = workers.swap_remove(i);
                    sys::why("it has said all; did it end well?");
                    let status = sys::wait(ended.pid).context("wait4").map_err(refused)?;
                    if !status.success() {
                        return Err(refused(Error::new(format!("a worker of the engine ended early: {status}"))));
                    }
                }
            }
            progress.draw();
        }
    };
    let result = work();
    progress.finish();
    if let Err(unfinished) = &result {
        sys::if_possible(|| stop(workers));
        // The error is the one to report; what cannot be removed now is swept by the next pull.
        let discard_all = || tasks.iter().try_for_each(|task| discard(task, site, unfinished.resumable));
        let _swept_later = sys::if_possible(discard_all);
    }
    result
}

fn refused(error: Error) -> Unfinished {
    Unfinished { error, resumable: false }
}

fn start(number: usize, task: &Task, supply: &mut Supply, site: &Site) -> Result<Worker> {
    sys::why("the worker tells the engine how far it is");
    let (socket, theirs) = sys::socketpair().context("socketpair")?;
    sys::why("a worker for one layer: a copy of the engine, so others go on side by side");
    match sys::clone(0).context("clone a worker")? {
        Some(pid) => Ok(Worker { pid, socket, task: number }),
        None => {
            sys::set_who(format!("layer{number}"));
            drop(socket);
            run(&Teller { socket: theirs }, task, supply, site)
        }
    }
}

/// The workers that have something to say, waiting for `timeout` milliseconds at most.
fn ready(workers: &[Worker], timeout: i32) -> Result<Vec<usize>> {
    let entry = |worker: &Worker| libc::pollfd { fd: worker.socket.raw(), events: libc::POLLIN, revents: 0 };
    let mut fds: Vec<libc::pollfd> = workers.iter().map(entry).collect();
    sys::why("until a worker says something, or has ended");
    sys::poll(&mut fds, timeout).context("poll")?;
    Ok((0..fds.len()).filter(|i| fds[*i].revents != 0).collect())
}

/// Takes one message; `false` when there will be no more.
fn hear(worker: &Worker, progress: &mut Progress) -> std::result::Result<bool, Unfinished> {
    let mut buffer = [0; MAX_MESSAGE];
    sys::why("how far is it? an empty message: it has ended");
    let (length, _) = sys::receive_message(&worker.socket, &mut buffer, 0).context("recvmsg").map_err(refused)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match &buffer[..length] {
        [] => return Ok(false),
        [STATE, state @ ..] => progress.state(worker.task, &text(state)),
        [EVENT, event @ ..] => progress.event(worker.task, &text(event)),
        [kind, message @ ..] => {
            return Err(Unfinished { error: Error::new(text(message)), resumable: *kind == CUT });
        }
    }
    Ok(true)
}

fn stop(workers: Vec<Worker>) {
    for worker in workers {
        // It may have ended by itself; either way it is waited for.
        sys::why("a layer is missing: the others are not needed");
        let _ended = sys::kill(worker.pid, libc::SIGKILL);
        sys::why("no zombie stays");
        let _status = sys::wait(worker.pid);
    }
}

/// Removes what a stopped worker left, unless another pull is at work on that layer.
fn discard(task: &Task, site: &Site, keep_blob: bool) -> Result<()> {
    let (path, making) = (task.blob(site.store), task.making(site.store, site.map));
    sys::why("what a stopped worker has left");
    let Ok(blob) = sys::open(&path, libc::O_RDWR, 0) else { return Ok(()) };
    let mut patience = 50;
    let is_free = || {
        sys::why("is another pull at work on that layer?");
        sys::flock(&blob, libc::LOCK_EX | libc::LOCK_NB).is_ok()
    };
    while !is_free() {
        // The worker's own processes, about to die with it, may hold the lock for another moment.
        patience -= 1;
        if patience == 0 {
            return Ok(());
        }
        sys::why("the worker's own processes are about to die");
        sys::poll(&mut [], 20).context("poll")?;
    }
    store::remove_tree_mapped(&making, site.map)?;
    if !keep_blob {
        sys::why("of a layer that was refused nothing stays");
        sys::unlink(&path).context(format_args!("unlink {}", path.display()))?;
    }
    Ok(())
}

// ---- the worker's side ----

/// How a message begins: a state to show on a terminal, an event for everybody, or an error, the
/// last one that of a transfer that can be resumed.
const STATE: u8 = b'.';
const EVENT: u8 = b'+';
const ERROR: u8 = b'!';
const CUT: u8 = b'~';

const RESUME: &str = " (what has come is kept: pull again to go on from there)";

struct Teller {
    socket: Fd,
}

impl Teller {
    fn tell(&self, kind: u8, text: &str) {
        let message = [&[kind], text.as_bytes()].concat();
        let length = message.len().min(MAX_MESSAGE);
        sys::why("how far this worker is");
        if sys::send_message(&self.socket, &message[..length], None).is_err() {
            sys::exit(1); // the engine is gone
        }
    }
}

fn run(teller: &Teller, task: &Task, supply: &mut Supply, site: &Site) -> ! {
    sys::why("when the engine dies, so does its worker");
    let ready = sys::set_parent_death_signal(libc::SIGKILL).and_then(|()| {
        // SIGKILL, which comes when the engine dies, cannot be blocked.
        sys::why("SIGPIPE among them: a write to a program that has ended is an error then, and no death");
        sys::block_signals()
    });
    // Where the engine died before that, this message finds nobody.
    teller.tell(STATE, "starting");
    let made = match ready.context("prepare a worker") {
        Ok(()) => make(teller, task, supply, site),
        Err(error) => Err(error.into()),
    };
    match made {
        Ok(event) => {
            teller.tell(EVENT, &event);
            sys::exit(0)
        }
        Err(failure) => {
            let (kind, hint) = if failure.is_transient() { (CUT, RESUME) } else { (ERROR, "") };
            teller.tell(kind, &format!("layer {}: {}{hint}", task.short(), failure.message));
            sys::exit(1)
        }
    }
}

/// The story of one layer. Returns how it ended.
fn make(teller: &Teller, task: &Task, supply: &mut Supply, site: &Site) -> std::result::Result<String, Failure> {
    let (store, map) = (site.store, site.map);
    let (blob, place, making) = (task.blob(store), store.layers().join(&task.name), task.making(store, map));
    let file = lock_blob(teller, &blob)?;
    sys::why("if there is one: another pull may have been faster");
    if store::exists(&place)? {
        sys::why("nobody needs the archive any more");
        sys::unlink(&blob).context(format_args!("unlink {}", blob.display()))?;
        return Ok("unpacked by another pull".to_string());
    }
    store::remove_tree_mapped(&making, map)?; // left by one that was killed
    match supply {
        Supply::Registry(registry) => download(teller, task, registry, &blob, &file)?,
        Supply::Archive(shelf) => verify(teller, task, shelf)?,
    }
    sys::step("unpack");
    teller.tell(STATE, "unpacking");
    let target = Target { dir: &making, tar: site.tar, map, marks: store.marks };
    let nodes = match supply {
        Supply::Registry(_) => {
            let digest = Some(task.descriptor.digest.as_str());
            layer::unpack(&|| Ok(Source::file(open_blob(&blob)?)), digest, &task.diff_id, &target)?
        }
        Supply::Archive(shelf) => layer::unpack(&|| shelf.blob(&task.descriptor), None, &task.diff_id, &target)?,
    };
    sys::step("put");
    sys::why("unless it is there: checked and whole, the layer is in the store from here on");
    match store::rename_mapped(&making, &place, map) {
        // The same content came as another blob.
        Err(error) if matches!(error.errno, Some(libc::EEXIST | libc::ENOTEMPTY)) => {
            store::remove_tree_mapped(&making, map)?;
        }
        renamed => renamed?,
    }
    sys::why("nobody needs the archive any more");
    sys::unlink(&blob).context(format_args!("unlink {}", blob.display()))?;
    Ok(match nodes {
        0 => "unpacked".to_string(),
        nodes => format!("unpacked; warning: device nodes left out: {nodes}"),
    })
}

/// Opens the blob's file and waits for its lock. Whoever had it may have removed the file: then the
/// lock is one on nothing, and it begins anew.
fn lock_blob(teller: &Teller, path: &Path) -> Result<Fd> {
    let flags = libc::O_RDWR | libc::O_CREAT | libc::O_APPEND | libc::O_NOFOLLOW;
    loop {
        sys::why("the blob, or what an earlier pull has of it");
        let file = sys::open(path, flags, 0o600).context(format_args!("open {}", path.display()))?;
        sys::why("if possible: the file is the layer's lock, of two pulls one works, one waits");
        if sys::flock(&file, libc::LOCK_EX | libc::LOCK_NB).is_err() {
            teller.tell(EVENT, "waiting for another pull");
            sys::why("until the other pull has done the work");
            sys::flock(&file, libc::LOCK_EX).context(format_args!("flock {}", path.display()))?;
        }
        sys::why("which file is it that we have locked?");
        let ours = sys::fstat(&file).context("fstat the blob")?.identity();
        sys::why("if there is one: the same file still? who had the lock may have removed it");
        match sys::lstat(path) {
            Ok(linked) if linked.identity() == ours => return Ok(file),
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).context(format_args!("lstat {}", path.display()));
            }
            _ => {}
        }
    }
}

fn open_blob(path: &Path) -> Result<Fd> {
    sys::open(path, libc::O_RDONLY, 0).context(format_args!("open {}", path.display()))
}

/// Checks the digest of a blob in an archive, where it has another than its content, whose own is always checked.
fn verify(teller: &Teller, task: &Task, shelf: &Shelf) -> Result<()> {
    if task.descriptor.digest == task.diff_id {
        return Ok(());
    }
    teller.tell(STATE, "verifying");
    let blob = shelf.blob(&task.descriptor)?;
    let seen = Hasher::start(blob.stream()?)?.finish()?;
    match seen == task.descriptor.digest {
        true => Ok(()),
        false => Err(digest::mismatch("the blob", &task.descriptor.digest, &seen)),
    }
}

/// Brings the blob and checks its digest.
fn download(
    teller: &Teller,
    task: &Task,
    registry: &mut Registry,
    path: &Path,
    file: &Fd,
) -> std::result::Result<(), Failure> {
    sys::why("is there a beginning from an earlier pull?");
    let mut resumed = sys::fstat(file).context("fstat the blob")?.size() > 0;
    loop {
        teller.tell(STATE, DOWNLOADING);
        registry.blob(&task.descriptor, file)?;
        teller.tell(STATE, "verifying");
        sys::why("the blob from its beginning, for the hasher");
        let reader = open_blob(path)?;
        let seen = Hasher::start(&reader)?.finish()?;
        if seen == task.descriptor.digest {
            teller.tell(EVENT, &format!("downloaded {}", human_size(task.descriptor.size)));
            return Ok(());
        }
        sys::why("not what its digest says: nothing of it is kept");
        sys::ftruncate(file, 0).context("truncate the blob")?;
        if !resumed {
            return Err(digest::mismatch("the blob", &task.descriptor.digest, &seen).into());
        }
        resumed = false; // its beginning, from an earlier pull, may be what is wrong
    }
}
