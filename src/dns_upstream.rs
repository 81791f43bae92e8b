//! The servers that queries are forwarded to, and the sockets that they are asked through.
//!
//! Who wants to slip us a forged answer must guess the port that we asked from and the ID (RFC 5452
//! section 4). So each upstream has a row of [`DOORS`] sockets, each on a random port of the kernel's
//! range (32768-60999 if nobody changed it), and a query goes through a random one, under a random ID. The
//! sockets are connected: the kernel lets in what comes from the upstream's address and port alone,
//! and tells at once when nobody listens there. A door that has been used [`USES`] times, or is [`AGE`] old,
//! is walled up when nobody waits behind it, and a new one is cut.
//!
//! An upstream that leaves a query without an answer is dead: nobody is made to wait for it while there
//! is another, but once a second it gets a copy of a query, and any answer revives it.

use std::io;
use std::net::SocketAddr;

use crate::sys::{self, Datagrams, Fd};

/// Sockets for an upstream.
pub const DOORS: usize = 128;
/// So many queries of those that come together go through one door: one sendmmsg, and their answers
/// come in one recvmmsg.
const GROUP: usize = 4;
/// Octets of a query by UDP. Ours have 282 at most; a client's signed one goes as it is.
pub const MAX_QUERY: usize = 1024;
const USES: u32 = 128;
/// In microseconds: so long a door is used at most, or who listens would know all of them after a day.
const AGE: u64 = 600_000_000;
/// Microseconds between two queries to a dead upstream.
const PROBE_INTERVAL: u64 = 1_000_000;

/// A query in flight, by its number in the table; the serial number tells it from those that had the
/// number before.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ticket {
    pub number: u32,
    pub serial: u32,
}

/// A query on its way: whom it went to, through which door, with which ID, and when (microseconds).
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    pub upstream: usize,
    pub door: usize,
    pub id: u16,
    pub at: u64,
    pub state: State,
}

/// What has become of a query that was sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum State {
    Waiting,
    /// Unanswered for so long that it was held against the upstream. The answer still counts if it comes.
    Silent,
    /// Answered, or it could not be delivered.
    Over,
}

/// A socket, and who waits for an answer on it.
struct Door {
    socket: Fd,
    waiting: Vec<(u16, Ticket)>,
    uses: u32,
    since: u64,
    /// The upstream's `deaths` when it was opened.
    deaths: u32,
}

/// What is known of an upstream, the best first.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Eq, Ord)]
pub enum Rank {
    /// It answered last time.
    Good,
    /// It was never asked.
    Unknown,
    Dead,
}

pub struct Upstream {
    pub address: SocketAddr,
    doors: Vec<Option<Door>>,
    /// Its last query was not answered.
    is_dead: bool,
    /// How often it has died. Doors from before are not used again: perhaps our own address has changed.
    deaths: u32,
    last_sent: u64,
    /// The last query that it got while it was not good: door, ID, and when. Another upstream may have
    /// answered it long before this one does.
    probe: Option<(usize, u16, u64)>,
    pub sent: u64,
    pub answered: u64,
    /// Of all answers together, microseconds.
    pub waited: u64,
}

impl Upstream {
    fn new(address: SocketAddr) -> Upstream {
        let doors = std::iter::repeat_with(|| None).take(DOORS).collect();
        Upstream {
            address,
            doors,
            is_dead: false,
            deaths: 0,
            last_sent: 0,
            probe: None,
            sent: 0,
            answered: 0,
            waited: 0,
        }
    }

    pub fn is_alive(&self) -> bool {
        !self.is_dead
    }

    /// How much we think of it; the first of the best is asked.
    pub fn rank(&self) -> Rank {
        match () {
            () if self.is_dead => Rank::Dead,
            () if self.answered > 0 => Rank::Good,
            () => Rank::Unknown,
        }
    }

    /// Whether it is dead and may have come back.
    pub fn wants_probe(&self, now: u64) -> bool {
        self.is_dead && now - self.last_sent >= PROBE_INTERVAL
    }

    pub fn count_sent(&mut self, now: u64) {
        self.sent += 1;
        self.last_sent = now;
    }

    pub fn count_answer(&mut self, waited: u64) {
        self.is_dead = false;
        self.answered += 1;
        self.waited += waited;
    }

    /// A reply that nobody waits for: is it a sign of life?
    pub fn count_late_answer(&mut self, door: usize, id: u16, now: u64) -> bool {
        match self.probe.take_if(|probe| (probe.0, probe.1) == (door, id)) {
            Some((_, _, at)) => self.count_answer(now - at),
            None => return false,
        }
        true
    }

    /// It has not answered for too long, nobody listens there, or no way leads there.
    pub fn count_failure(&mut self) {
        self.deaths += u32::from(!self.is_dead);
        self.is_dead = true;
    }

    fn open_door(&mut self, number: usize, now: u64, epoll: &Fd, token: u64) -> io::Result<&mut Door> {
        sys::why("if possible: a door to the upstream");
        let socket = sys::socket(&self.address, libc::SOCK_DGRAM)?;
        sys::why("if possible: on a random port: who forges an answer must guess which one asked");
        sys::connect(&socket, &self.address)?;
        sys::why("if possible: tell when an answer comes");
        sys::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, &socket, libc::EPOLLIN, token)?;
        Ok(self.doors[number].insert(Door { socket, waiting: Vec::new(), uses: 0, since: now, deaths: self.deaths }))
    }
}

pub struct Upstreams {
    pub list: Vec<Upstream>,
    /// What goes through `target` next.
    outbox: Datagrams,
    /// (upstream, door)
    target: Option<(usize, usize)>,
    /// Where sending has failed: the kernel knows no way, or was told that nobody listens there.
    pub unreachable: Vec<(usize, usize)>,
    entropy: Entropy,
    /// The token of the first upstream's first door; the others count on from there.
    first_token: u64,
}

impl Upstreams {
    pub fn new(addresses: &[SocketAddr], first_token: u64) -> io::Result<Upstreams> {
        let mut entropy = Entropy::default();
        entropy.fill()?;
        Ok(Upstreams {
            list: addresses.iter().map(|address| Upstream::new(*address)).collect(),
            outbox: Datagrams::new(GROUP, MAX_QUERY, false),
            target: None,
            unreachable: Vec::new(),
            entropy,
            first_token,
        })
    }

    /// Opens the doors to the first upstream ahead of time, so that a query finds them open. Where there
    /// is no way to it yet, they are opened when they are needed.
    pub fn open_first(&mut self, now: u64, epoll: &Fd) {
        let first_token = self.first_token;
        let mut open = |door| self.list[0].open_door(door, now, epoll, first_token + door as u64).is_ok();
        if open(0) {
            sys::fold("if possible: 127 more of the kind", || (1..DOORS).all(open));
        }
    }

    /// Puts a query into the outbox; `write` makes it under the ID that is given, and returns its length.
    /// A query that must keep its ID (TSIG) brings it along. Fails where no socket to the upstream can be made.
    pub fn send(
        &mut self,
        (upstream, ticket, now): (usize, Ticket, u64),
        fixed_id: Option<u16>,
        epoll: &Fd,
        write: impl FnOnce(&mut [u8], u16) -> usize,
    ) -> io::Result<Sent> {
        let group = self.target.filter(|(to, _)| *to == upstream && !self.outbox.is_full() && fixed_id.is_none());
        let door = match group {
            Some((_, door)) => door,
            None => {
                self.flush();
                self.choose_door(upstream, now, epoll)?
            }
        };
        self.target = Some((upstream, door));
        let to = &mut self.list[upstream];
        let Some(Door { waiting, uses, .. }) = &mut to.doors[door] else {
            return Err(io::ErrorKind::NotConnected.into()); // not reached: choose_door has opened it
        };
        let id = match fixed_id {
            Some(id) => id,
            None => loop {
                let id = self.entropy.next()?;
                if waiting.iter().all(|(other, _)| *other != id) {
                    break id;
                }
            },
        };
        if fixed_id.is_some() && waiting.iter().any(|(other, _)| *other == id) {
            return Err(io::ErrorKind::QuotaExceeded.into()); // one in 65536: it is tried again
        }
        let length = write(self.outbox.room(), id);
        self.outbox.push(length, None);
        waiting.push((id, ticket));
        *uses += 1;
        to.count_sent(now);
        if to.is_dead {
            to.probe = Some((door, id, now));
        }
        Ok(Sent { upstream, door, id, at: now, state: State::Waiting })
    }

    /// A random ID, for a query that goes another way.
    pub fn random(&mut self) -> io::Result<u16> {
        self.entropy.next()
    }

    fn choose_door(&mut self, upstream: usize, now: u64, epoll: &Fd) -> io::Result<usize> {
        let door = usize::from(self.entropy.next()?) % DOORS;
        let token = self.first_token + (upstream * DOORS + door) as u64;
        let to = &mut self.list[upstream];
        let is_worn = |open: &Door| {
            let is_old = open.uses >= USES || now - open.since >= AGE || open.deaths != to.deaths;
            is_old && open.waiting.is_empty()
        };
        if !to.doors[door].as_ref().is_none_or(is_worn) {
            return Ok(door);
        }
        match to.open_door(door, now, epoll, token) {
            Ok(_) => Ok(door),
            // Better a door that has been used than none.
            Err(error) => {
                let mut others = (door..DOORS).chain(0..door);
                others.find(|door| to.doors[*door].is_some()).ok_or(error)
            }
        }
    }

    /// Sends what is in the outbox. Where that fails, the place is remembered in `unreachable`.
    pub fn flush(&mut self) {
        let Some((upstream, door)) = self.target.take() else { return };
        if let Some(open) = &self.list[upstream].doors[door] {
            sys::why("if possible: asked of an upstream, under an ID of our own");
            if self.outbox.send(&open.socket).is_err() {
                self.unreachable.push((upstream, door));
            }
        }
    }

    pub fn socket(&self, upstream: usize, door: usize) -> Option<&Fd> {
        self.list[upstream].doors[door].as_ref().map(|open| &open.socket)
    }

    /// Who waits at a door for a reply with this ID.
    pub fn waiting(&self, upstream: usize, door: usize, id: u16) -> Option<Ticket> {
        let open = self.list[upstream].doors[door].as_ref()?;
        open.waiting.iter().find(|(other, _)| *other == id).map(|(_, ticket)| *ticket)
    }

    /// Everybody who waits at a door.
    pub fn all_waiting(&self, upstream: usize, door: usize) -> Vec<Ticket> {
        let waiting = self.list[upstream].doors[door].as_ref().map_or(&[][..], |open| &open.waiting);
        waiting.iter().map(|(_, ticket)| *ticket).collect()
    }

    /// Nobody waits for this one any more.
    pub fn forget(&mut self, sent: &Sent, ticket: Ticket) {
        if let Some(Some(open)) = self.list[sent.upstream].doors.get_mut(sent.door) {
            if let Some(at) = open.waiting.iter().position(|entry| *entry == (sent.id, ticket)) {
                open.waiting.swap_remove(at);
            }
        }
    }
}

/// Random numbers from getrandom(2), 128 of them at a time: RFC 5452 section 9.2 wants IDs
/// that cannot be guessed.
#[derive(Default)]
struct Entropy {
    left: Vec<u16>,
}

impl Entropy {
    fn fill(&mut self) -> io::Result<()> {
        sys::why("for IDs, and to choose doors");
        let octets: [u8; 256] = sys::random()?;
        self.left.extend(octets.chunks_exact(2).map(|pair| u16::from_ne_bytes([pair[0], pair[1]])));
        Ok(())
    }

    fn next(&mut self) -> io::Result<u16> {
        if self.left.is_empty() {
            self.fill()?;
        }
        self.left.pop().ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}
