//! Fuzz target: whatever octets `mydocker dns decode` prints, it shows each of them, once and in order; no line is
//! longer than 100 columns, and no character can steer a terminal.

#![no_main]

use libfuzzer_sys::fuzz_target;

use mydocker_fuzz::dns_view::View;

fuzz_target!(|message: &[u8]| {
    let text = View::new(message).print();
    assert!(text.bytes().all(|octet| matches!(octet, b'\n' | b' '..=b'~')), "{text}");
    let mut shown = Vec::new();
    for line in text.lines() {
        assert!(line.len() <= 100, "{line}");
        if line.get(..5).is_some_and(|offset| offset.trim().parse::<usize>() == Ok(shown.len())) {
            let hex = line[7..line.len().min(30)].split(' ').take_while(|octet| !octet.is_empty());
            shown.extend(hex.map(|octet| u8::from_str_radix(octet, 16).unwrap()));
        }
    }
    assert_eq!(shown, message, "{text}");
});
