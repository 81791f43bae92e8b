//! Queries to upstreams over TCP: for an answer that was too large for UDP. A connection for each; none
//! of them is waited for.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use crate::dns_tcp::Stream;
use crate::dns_upstream::Ticket;
use crate::sys::{self, Fd};

/// The number of the door in [`Sent`](crate::dns_upstream::Sent) of a query by TCP; its ID is the number of the dial.
pub const TCP_DOOR: usize = usize::MAX;
/// More are not open at a time; others are tried again when their stage ends.
const MAX_DIALS: usize = 512;

pub struct Dial {
    stream: Stream,
    pub upstream: usize,
    pub ticket: Ticket,
    /// The query's ID.
    pub id: u16,
}

/// What has happened on a connection.
pub enum Outcome {
    Nothing,
    Reply(Vec<u8>),
    /// It ended, or never came to be.
    Failed,
}

pub struct Dials {
    slots: Vec<Option<Dial>>,
    first_token: u64,
}

impl Dials {
    pub fn new(first_token: u64) -> Dials {
        Dials { slots: Vec::new(), first_token }
    }

    /// Begins to connect, with a query to be sent then; returns the dial's number.
    pub fn open(
        &mut self,
        (upstream, address): (usize, SocketAddr),
        ticket: Ticket,
        query: &[u8],
        epoll: &Fd,
    ) -> io::Result<u16> {
        let number = match self.slots.iter().position(Option::is_none) {
            Some(number) => number,
            None if self.slots.len() < MAX_DIALS => {
                self.slots.push(None);
                self.slots.len() - 1
            }
            None => return Err(ErrorKind::QuotaExceeded.into()),
        };
        sys::why("if possible: the upstream by TCP: its answer was too long for a datagram");
        let socket = sys::socket(&address, libc::SOCK_STREAM | libc::SOCK_NONBLOCK)?;
        sys::why("if possible: EINPROGRESS: epoll says when it is there");
        match sys::connect(&socket, &address) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return Err(error),
            _ => {}
        }
        let token = self.first_token + number as u64;
        sys::why("if possible: tell when it takes something");
        sys::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, &socket, libc::EPOLLOUT, token)?;
        let mut stream = Stream::new(socket);
        stream.queue(query);
        let id = u16::from_be_bytes([query[0], query[1]]);
        self.slots[number] = Some(Dial { stream, upstream, ticket, id });
        Ok(number as u16)
    }

    pub fn number(&self, token: u64) -> u16 {
        (token - self.first_token) as u16
    }

    pub fn get(&self, number: u16) -> Option<&Dial> {
        self.slots.get(usize::from(number))?.as_ref()
    }

    pub fn close(&mut self, number: u16, ticket: Ticket) {
        if self.get(number).is_some_and(|dial| dial.ticket == ticket) {
            self.slots[usize::from(number)] = None;
        }
    }

    /// epoll says that something has happened.
    pub fn advance(&mut self, number: u16, events: i32, epoll: &Fd) -> Outcome {
        let token = self.first_token + u64::from(number);
        let Some(Some(dial)) = self.slots.get_mut(usize::from(number)) else { return Outcome::Nothing };
        if events & libc::EPOLLOUT != 0 {
            let drained = dial.stream.drain();
            let next = if dial.stream.backlog() > 0 { libc::EPOLLOUT } else { libc::EPOLLIN };
            sys::why("if possible: what it is waited for now");
            let watched = sys::epoll_ctl(epoll, libc::EPOLL_CTL_MOD, &dial.stream.socket, next, token);
            return if drained.and(watched).is_ok() { Outcome::Nothing } else { Outcome::Failed };
        }
        let received = dial.stream.fill().and_then(|open| Ok((open, dial.stream.message()?)));
        match received {
            Ok((_, Some(message))) => Outcome::Reply(message),
            Ok((true, _)) => Outcome::Nothing,
            Ok((false, _)) | Err(_) => Outcome::Failed,
        }
    }
}
