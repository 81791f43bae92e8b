//! Replies on their way to clients, and the log that tells of them.
//!
//! Replies to datagrams gather in an outbox, so that under load one sendmmsg(2) carries many; a lone
//! one goes alone. Nobody waits for a client: a reply that cannot be sent at once is a lost datagram.

use std::io::Write;
use std::net::SocketAddr;

use crate::dns_flight::Way;
use crate::dns_message::{Header, Reader};
use crate::dns_query::MAX_UDP_REPLY;
use crate::dns_record::{rcode_name, type_name};
use crate::dns_tcp::Clients;
use crate::error::{Context, Result};
use crate::order;
use crate::sys::{self, Datagrams, Fd};

/// Replies in one sendmmsg.
const BATCH: usize = 64;

/// Where an answer is from, for the log.
#[derive(Clone, Copy)]
pub enum Source {
    /// Words: `cache`, `stale cache`, `hosts`, `here`.
    Words(&'static str),
    Upstream(SocketAddr),
}

pub struct Replies {
    /// The UDP sockets, by listener number.
    pub sockets: Vec<Fd>,
    outbox: Datagrams,
    /// The listener whose replies are in the outbox.
    listener: usize,
    pub clients: Clients,
    /// Connections that have got something, by number.
    touched: Vec<usize>,
    /// Room for one reply by TCP.
    room: Vec<u8>,
    pub log: Log,
}

impl Replies {
    pub fn new(sockets: Vec<Fd>, clients: Clients, log: Log) -> Replies {
        Replies {
            sockets,
            outbox: Datagrams::new(BATCH, MAX_UDP_REPLY, true),
            listener: 0,
            clients,
            touched: Vec::new(),
            room: vec![0; usize::from(u16::MAX)],
            log,
        }
    }

    /// Sends what `write` makes, soon: [`Replies::flush`] sees to it. `since`: when the query came, microseconds.
    pub fn send(&mut self, way: &Way, source: Source, since: u64, write: impl FnOnce(&mut [u8]) -> usize) {
        match way {
            Way::Udp(listener, peer) => {
                if self.listener != *listener || self.outbox.is_full() {
                    self.flush_datagrams();
                    self.listener = *listener;
                }
                let room = self.outbox.room();
                let length = write(room);
                if self.log.is_on {
                    self.log.reply(peer.address(), &room[..length], source, since);
                }
                self.outbox.push(length, Some(peer));
            }
            Way::Tcp(number, uses, _) if !self.clients.is_open(*number, *uses) => {}
            Way::Tcp(number, _, address) => {
                let length = write(&mut self.room);
                if self.log.is_on {
                    self.log.reply(*address, &self.room[..length], source, since);
                }
                self.clients.reply(*number, Some(&self.room[..length]));
                self.touched.push(*number);
            }
        }
    }

    /// A query that gets no reply at all.
    pub fn send_nothing(&mut self, way: &Way) {
        match way {
            Way::Tcp(number, uses, _) if self.clients.is_open(*number, *uses) => {
                self.clients.reply(*number, None);
                self.touched.push(*number);
            }
            _ => {}
        }
    }

    pub fn flush_datagrams(&mut self) {
        if self.outbox.len() > 0 {
            sys::why("if possible: the answers, each under its asker's own ID");
            // A client that cannot be reached has a reply less; it will ask again.
            let _lost = self.outbox.send(&self.sockets[self.listener]);
        }
    }

    /// Everything goes out; then there is time to wait again.
    pub fn flush(&mut self, epoll: &Fd, now: u64) {
        self.flush_datagrams();
        order::sort_by(&mut self.touched, usize::cmp);
        self.touched.dedup();
        while let Some(number) = self.touched.pop() {
            self.clients.settle(number, epoll, now);
        }
    }
}

/// Microseconds as milliseconds with two digits behind the point.
pub fn milliseconds(time: u64) -> String {
    format!("{}.{:02}", time / 1000, time % 1000 / 10)
}

/// Lines for standard output, gathered until there is time.
#[derive(Default)]
pub struct Log {
    pub is_on: bool,
    /// Every message is printed field by field, too.
    pub with_messages: bool,
    lines: Vec<u8>,
    /// Lines that were not printed, since nobody read those before them.
    lost: u64,
}

/// Octets of lines that wait for a reader; more are lost. Answers do not wait for who reads the log.
const MAX_LINES: usize = 1024 * 1024;
/// A pipe that poll(2) calls writable takes so much at once: PIPE_BUF, pipe(7).
const CHUNK: usize = 4096;

impl Log {
    pub fn new(is_on: bool, with_messages: bool) -> Log {
        Log { is_on, with_messages, lines: Vec::new(), lost: 0 }
    }

    /// `127.0.0.1:40000 www.example. A NOERROR 1 answer, from cache, 0.03 ms`
    fn reply(&mut self, to: SocketAddr, message: &[u8], source: Source, since: u64) {
        let header = Header::read(message).unwrap_or_default();
        let question = match Reader::new(message).question() {
            Ok(question) if header.qdcount() > 0 => format!("{} {}", question.name, type_name(question.qtype)),
            _ => "-".to_string(),
        };
        let source = match source {
            Source::Words(words) => words.to_string(),
            Source::Upstream(address) => address.to_string(),
        };
        let (count, rcode) = (header.ancount(), rcode_name(header.rcode()));
        let truncated = if header.tc() { " truncated" } else { "" };
        let (s, time) = (if count == 1 { "" } else { "s" }, milliseconds(sys::clock() - since));
        self.line(format_args!("{to} {question} {rcode}{truncated} {count} answer{s}, from {source}, {time} ms"));
        self.message(format_args!("to {to}"), message);
    }

    /// A message, where they are wanted; `what`: where it comes from or goes to.
    pub fn message(&mut self, what: std::fmt::Arguments, message: &[u8]) {
        if self.with_messages && self.lines.len() <= MAX_LINES {
            self.line(format_args!("---- {what}, {} octets\n{}", message.len(), crate::dns_decode::describe(message)));
        }
    }

    pub fn line(&mut self, line: std::fmt::Arguments) {
        if self.lines.len() > MAX_LINES {
            self.lost += 1;
            return;
        }
        if self.lost > 0 && self.lines.is_empty() {
            let lost = std::mem::take(&mut self.lost);
            self.line(format_args!("({lost} lines were lost: nobody read the log)"));
        }
        // Writing to a Vec cannot fail.
        let _always_ok = writeln!(self.lines, "{line}");
    }

    /// Whether lines wait for a reader.
    pub fn is_behind(&self) -> bool {
        !self.lines.is_empty()
    }

    /// Prints what has gathered, as far as standard output takes it without waiting.
    pub fn flush(&mut self) -> Result<()> {
        let mut done = 0;
        while done < self.lines.len() && sys::is_writable(sys::STDOUT) {
            let rest = &self.lines[done..];
            sys::why("lines of the log");
            done += sys::write(sys::STDOUT, &rest[..rest.len().min(CHUNK)]).context("write to standard output")?;
        }
        self.lines.drain(..done);
        Ok(())
    }
}
