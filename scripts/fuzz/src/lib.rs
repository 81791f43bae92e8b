//! The program's modules that touch nothing but memory, as they lie in ../../../src, for the targets beside this
//! file: messages.rs, view.rs, cache.rs.

// The program uses all of it, and is no library.
#![allow(dead_code, clippy::new_without_default, clippy::len_without_is_empty)]

#[path = "../../../src/dns_answer.rs"]
pub mod dns_answer;
#[path = "../../../src/dns_cache.rs"]
pub mod dns_cache;
#[path = "../../../src/dns_fields.rs"]
pub mod dns_fields;
#[path = "../../../src/dns_index.rs"]
pub mod dns_index;
#[path = "../../../src/dns_message.rs"]
pub mod dns_message;
#[path = "../../../src/dns_name.rs"]
pub mod dns_name;
#[path = "../../../src/dns_page.rs"]
pub mod dns_page;
#[path = "../../../src/dns_query.rs"]
pub mod dns_query;
#[path = "../../../src/dns_record.rs"]
pub mod dns_record;
#[path = "../../../src/dns_tables.rs"]
pub mod dns_tables;
#[path = "../../../src/dns_view.rs"]
pub mod dns_view;
#[path = "../../../src/dns_whole.rs"]
pub mod dns_whole;
