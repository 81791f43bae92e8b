//! `mydocker dns`: one process, one thread, one place to wait: epoll(7).
//!
//! ```text
//!   client --query--> recvmmsg --> Query::read, who may ask?        (dns_query, dns_options)
//!                                   |-> answered here               (dns_local, dns_hosts)
//!                                   |-> in the cache                (dns_cache)
//!                                   `-> forwarded                   (dns_forward, dns_flight, dns_upstream)
//!   client <--reply-- sendmmsg <----'  in the form that it can take (dns_query, dns_reply)
//! ```
//! Nothing in here waits for anybody: sockets are read when epoll says that there is something, replies
//! gather and go out before the next wait, and whoever has not answered by a deadline is not waited for.
//! Between two waits a lone cached query costs one receive and one send, a forwarded one two of each.

use std::ffi::OsString;
use std::hash::{DefaultHasher, Hasher};
use std::net::SocketAddr;

use crate::dns_cache::{change_ttls, Cache, Found, STALE_TTL};
use crate::dns_decode;
use crate::dns_dial::Dials;
use crate::dns_flight::{Asker, Flights, Way};
use crate::dns_listen::{refuse_loops, Listeners};
use crate::dns_local::Local;
use crate::dns_message::{rcode, HEADER_LENGTH};
use crate::dns_options::{help, DnsOptions, Network};
use crate::dns_query::{split_key, Key, Query, Refusal};
use crate::dns_reply::{milliseconds, Log, Replies, Source};
use crate::dns_tcp::Clients;
use crate::dns_upstream::{Upstreams, DOORS};
use crate::error::{say, Context, Result};
use crate::sys::{self, Datagrams, Fd};

/// Datagrams that one recvmmsg takes.
const BATCH: usize = 64;
/// Microseconds without accepting connections, where there are no descriptors for them.
const DEAF: u64 = 500_000;
/// Microseconds until lines of the log are offered again to who does not read them.
const LOG_INTERVAL: u64 = 100_000;
/// Where many queries come, more are likely to be there by now: so often the socket is read again
/// before the others have their turn.
const ROUNDS: usize = 8;
/// Octets of a datagram, ours or theirs: more than any that we ask for.
const DATAGRAM: usize = 4096;

/// What an epoll token stands for: a kind of descriptor in the millions, its number below. In a trace
/// `u64=4000017` is door 17 of the first upstream.
mod token {
    pub const KIND: u64 = 1_000_000;
    pub const SIGNAL: u64 = 0;
    pub const UDP: u64 = KIND;
    pub const TCP: u64 = 2 * KIND;
    pub const CLIENT: u64 = 3 * KIND;
    pub const DOOR: u64 = 4 * KIND;
    pub const DIAL: u64 = 5 * KIND;
}

/// What SIGUSR1 prints.
#[derive(Default)]
pub struct Counters {
    pub queries: u64,
    /// Answered here: hosts files, localhost, ...
    pub local: u64,
    /// Answered from the cache.
    pub hits: u64,
    /// For which an upstream was asked.
    pub misses: u64,
    /// For which one was asked already.
    pub coalesced: u64,
    /// Answered with what had run out.
    pub stale: u64,
    /// Asked again, or of another upstream.
    pub retries: u64,
    /// Ended without an answer.
    pub failures: u64,
    /// Messages that were none of our business.
    pub dropped: u64,
    /// Askers that are no neighbours.
    pub refused: u64,
}

pub struct Server {
    pub epoll: Fd,
    /// Microseconds, see [`sys::clock`]; as of the last wait's end.
    pub now: u64,
    allow: Vec<Network>,
    listeners: Vec<Fd>,
    local: Local,
    pub cache: Option<Cache>,
    /// Keyed with random numbers: nobody can make questions that all fall into one chain.
    hasher: DefaultHasher,
    pub flights: Flights,
    pub upstreams: Upstreams,
    pub dials: Dials,
    pub replies: Replies,
    pub counters: Counters,
    /// Until when no connection is accepted, for want of descriptors.
    deaf_until: Option<u64>,
    /// Memory that is used again and again: a query's key, an answer, those who get it.
    key: Key,
    pub scratch: Vec<u8>,
    pub served: Vec<Asker>,
}

/// The command.
pub fn main(arguments: &[OsString]) -> Result<i32> {
    if let [first, rest @ ..] = arguments {
        if first == "decode" {
            return dns_decode::main(rest);
        }
    }
    let Some(options) = DnsOptions::parse(arguments)? else {
        sys::print(&help()).context("write to standard output")?;
        return Ok(0);
    };
    refuse_loops(&options.upstreams, &options.listen)?;
    sys::why("signals are read like any other event");
    let signals = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGUSR1, libc::SIGPIPE];
    let signals = sys::signals_to_fd(&signals).context("signalfd")?;
    sys::why("a descriptor for each connection, and 128 for each upstream: how many may there be?");
    sys::raise_open_files().context("setrlimit RLIMIT_NOFILE")?;
    let (mut server, addresses) = Server::start(&options, &signals)?;
    sys::why("what it needed power for is done: ports are bound, queues are large");
    sys::capset(0, 0, 0).context("capset")?;
    sys::why("and nothing gives power back");
    sys::no_new_privs().context("prctl PR_SET_NO_NEW_PRIVS")?;
    let mut inbox = Datagrams::new(BATCH, DATAGRAM, true);
    let (at, to) = (list(&addresses), list(&options.upstreams));
    sys::why("ready");
    sys::print(&format!("mydocker dns: listening on {at}, forwarding to {to}\n")).context("standard output")?;
    let code = server.serve(&signals, &mut inbox)?;
    // The kernel closes a hundred and more sockets without being asked to one by one.
    std::mem::forget(server);
    Ok(code)
}

// ---- the start ----

fn list(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(", ")
}

impl Server {
    /// A server that is ready, and the addresses at which it listens.
    fn start(options: &DnsOptions, signals: &Fd) -> Result<(Server, Vec<SocketAddr>)> {
        let now = sys::clock();
        let local = Local::new(&options.hosts, now)?;
        let Listeners { addresses, udp, tcp } = Listeners::open(&options.listen)?;
        sys::why("one place to wait for everything");
        let epoll = sys::epoll_create1().context("epoll_create1")?;
        let watch = |fd: &Fd, token| {
            sys::why("tell when there is something to read");
            sys::epoll_ctl(&epoll, libc::EPOLL_CTL_ADD, fd, libc::EPOLLIN, token).context("epoll_ctl")
        };
        watch(signals, token::SIGNAL)?;
        for (number, (udp, tcp)) in udp.iter().zip(&tcp).enumerate() {
            watch(udp, token::UDP + number as u64)?;
            watch(tcp, token::TCP + number as u64)?;
        }
        let mut upstreams = Upstreams::new(&options.upstreams, token::DOOR).context("getrandom")?;
        upstreams.open_first(now, &epoll);
        let mut hasher = DefaultHasher::new();
        sys::why("a secret of the cache's: nobody outside can choose names that collide in it");
        hasher.write(&sys::random::<16>().context("getrandom")?);
        let server = Server {
            now,
            allow: options.allow.clone(),
            listeners: tcp,
            local,
            cache: options.cache_size.map(Cache::new),
            hasher,
            flights: Flights::new(options.upstreams.len()),
            upstreams,
            dials: Dials::new(token::DIAL),
            replies: Replies::new(udp, Clients::new(token::CLIENT), Log::new(options.log, options.log_messages)),
            counters: Counters::default(),
            deaf_until: None,
            key: Key::default(),
            scratch: Vec::new(),
            served: Vec::new(),
            epoll,
        };
        Ok((server, addresses))
    }
}

// ---- the loop ----

impl Server {
    fn serve(&mut self, signals: &Fd, inbox: &mut Datagrams) -> Result<i32> {
        let mut ready = sys::Ready::new();
        sys::step("query");
        loop {
            let timeout = self.timeout();
            sys::why("until something comes, or somebody's patience ends");
            sys::epoll_wait(&self.epoll, &mut ready, timeout).context("epoll_wait")?;
            self.now = sys::clock();
            // Answers first, then questions: what is finished makes room.
            ready.sort_unstable_by_key(|(token, _)| std::cmp::Reverse(*token));
            for (token, events) in ready.drain(..) {
                let number = (token % token::KIND) as usize;
                match token - token % token::KIND {
                    token::UDP => self.receive_queries(number, inbox),
                    token::TCP => self.accept(number),
                    token::CLIENT => self.receive_stream(token, events),
                    token::DOOR => {
                        let (upstream, door) = (number / DOORS, number % DOORS);
                        self.receive_replies(upstream, door, inbox);
                    }
                    token::DIAL => self.advance_dial(self.dials.number(token), events),
                    _ => {
                        if !self.take_signal(signals)? {
                            return self.end_in_order();
                        }
                    }
                }
            }
            self.listen_again();
            self.end_stages();
            self.flush();
            while let Some(number) = self.replies.clients.next_unblocked() {
                self.receive_stream(token::CLIENT + number as u64, 0);
                self.flush();
            }
            self.replies.clients.expire(self.now);
        }
    }

    /// Milliseconds until something is due; -1: nothing is.
    fn timeout(&self) -> i32 {
        let log = self.replies.log.is_behind().then_some(self.now + LOG_INTERVAL);
        let next = [self.flights.deadline(), self.replies.clients.deadline(), log, self.deaf_until];
        let next = next.into_iter().flatten().min();
        next.map_or(-1, |time| (time.saturating_sub(self.now).div_ceil(1000)) as i32)
    }

    /// What has gathered goes out.
    fn flush(&mut self) {
        self.upstreams.flush();
        while let Some((upstream, door)) = self.upstreams.unreachable.pop() {
            self.unreachable(upstream, door);
            self.upstreams.flush();
        }
        self.replies.flush(&self.epoll, self.now);
        if let Err(error) = self.replies.log.flush() {
            say(format_args!("warning: {error}; no more --log"));
            self.replies.log = Log::default();
        }
    }

    /// False: it is time to end.
    fn take_signal(&mut self, signals: &Fd) -> Result<bool> {
        sys::why("which signal?");
        match sys::read_signal(signals).context("read a signal")? {
            libc::SIGUSR1 => {
                let report = self.report();
                sys::why("if possible: the counters, for SIGUSR1");
                if let Err(error) = sys::print(&report) {
                    say(format_args!("warning: write to standard output: {error}"));
                }
                Ok(true)
            }
            libc::SIGPIPE => Ok(true),
            _ => Ok(false),
        }
    }

    /// Who still waits is told that there will be no answer, and can ask elsewhere at once.
    fn end_in_order(&mut self) -> Result<i32> {
        while let Some(ticket) = self.flights.oldest() {
            self.give_up(ticket);
        }
        self.flush();
        Ok(0)
    }

    fn report(&self) -> String {
        let Counters { queries, local, hits, misses, coalesced, stale, retries, failures, dropped, refused } =
            self.counters;
        let cached = self.cache.as_ref().map_or(0, Cache::len) as u64;
        let rows = [
            ("queries", queries),
            ("local", local),
            ("hits", hits),
            ("misses", misses),
            ("coalesced", coalesced),
            ("stale", stale),
            ("retries", retries),
            ("failures", failures),
            ("dropped", dropped),
            ("refused", refused),
            ("cached", cached),
        ];
        let mut report: String = rows.iter().map(|(name, value)| format!("{name} {value}\n")).collect();
        for upstream in &self.upstreams.list {
            let mean = milliseconds(upstream.waited / upstream.answered.max(1));
            let state = if upstream.is_alive() { "alive" } else { "dead" };
            let (address, sent, answered) = (upstream.address, upstream.sent, upstream.answered);
            report += &format!("upstream {address} sent {sent} answered {answered} mean {mean} ms {state}\n");
        }
        report + "end\n"
    }
}

// ---- clients ----

impl Server {
    fn receive_queries(&mut self, listener: usize, inbox: &mut Datagrams) {
        self.local.refresh(self.now);
        for _ in 0..ROUNDS {
            sys::why("if possible: what clients ask");
            // An error here is news of an earlier reply that could not be delivered.
            let count = inbox.receive(&self.replies.sockets[listener]).unwrap_or(0);
            for number in 0..count {
                let (message, peer, _) = inbox.get(number);
                self.answer(message, Way::Udp(listener, *peer));
            }
            // Queries that came together may share a door; the next ones get another.
            self.upstreams.flush();
            if count < 2 {
                return;
            }
            self.replies.flush_datagrams();
        }
    }

    fn accept(&mut self, listener: usize) {
        loop {
            sys::why("if possible: a client that speaks TCP");
            match sys::accept4(&self.listeners[listener]) {
                // One that cannot be taken in is closed.
                Ok(new) => drop(self.replies.clients.adopt(new, &self.epoll, self.now)),
                Err(error) if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
                    if self.replies.clients.close_idlest().is_none() {
                        return self.deafen(listener);
                    }
                }
                // None left; or the connection is gone already: accept(2).
                Err(_) => return,
            }
        }
    }

    /// There is no descriptor for a connection, and epoll would say again and again that one waits: for a
    /// while nobody listens.
    fn deafen(&mut self, listener: usize) {
        let token = token::TCP + listener as u64;
        sys::why("if possible: there is no descriptor for a connection: nobody listens for a while");
        if sys::epoll_ctl(&self.epoll, libc::EPOLL_CTL_MOD, &self.listeners[listener], 0, token).is_ok() {
            self.deaf_until = Some(self.now + DEAF);
        }
    }

    /// The while is over.
    fn listen_again(&mut self) {
        if self.deaf_until.take_if(|until| *until <= self.now).is_none() {
            return;
        }
        for (number, listener) in self.listeners.iter().enumerate() {
            let (token, operation) = (token::TCP + number as u64, libc::EPOLL_CTL_MOD);
            sys::why("if possible: listen again");
            if sys::epoll_ctl(&self.epoll, operation, listener, libc::EPOLLIN, token).is_err() {
                self.deaf_until = Some(self.now + DEAF);
            }
        }
    }

    fn receive_stream(&mut self, token: u64, events: i32) {
        let number = self.replies.clients.number(token);
        if events & (libc::EPOLLHUP | libc::EPOLLERR) != 0 {
            return self.replies.clients.close(number);
        }
        if events & libc::EPOLLIN != 0 {
            self.replies.clients.fill(number);
        }
        self.local.refresh(self.now);
        // As many as it may have in flight; the rest waits until it has taken some answers.
        while let Some((uses, address, message)) = self.replies.clients.next_query(number) {
            self.answer(&message, Way::Tcp(number, uses, address));
        }
        self.replies.clients.settle(number, &self.epoll, self.now);
    }

    /// A message from a client, from here to its reply or into the table of queries in flight.
    fn answer(&mut self, message: &[u8], way: Way) {
        let now = self.now;
        self.counters.queries += 1;
        let from = way.address();
        self.replies.log.message(format_args!("from {from}"), message);
        let (query, verdict) = match Query::read(message, way.is_tcp()) {
            Ok(query) => (query, rcode::NOERROR),
            Err(Refusal::Reply(query, rcode)) => (query, rcode),
            Err(Refusal::Silence) => {
                self.counters.dropped += 1;
                return self.replies.send_nothing(&way);
            }
        };
        let question = &message[HEADER_LENGTH..query.question_end];
        let here = Source::Words("here");
        if !self.allow.iter().any(|network| network.contains(from.ip())) {
            self.counters.refused += 1;
            let write = |out: &mut [u8]| query.write_error(out, question, rcode::REFUSED, false);
            return self.replies.send(&way, here, now, write);
        }
        if verdict != rcode::NOERROR {
            return self.replies.send(&way, here, now, |out| query.write_error(out, question, verdict, true));
        }
        let mut key = std::mem::take(&mut self.key);
        key.set(question, &query);
        self.answer_good(message, way, query, key.octets());
        self.key = key;
    }

    /// The same for a good query from a neighbour.
    fn answer_good(&mut self, message: &[u8], way: Way, query: Query, key: &[u8]) {
        let (now, question) = (self.now, &message[HEADER_LENGTH..query.question_end]);
        let (in_lower_case, _) = split_key(key);
        if let Some((answer, source)) = self.local.answer(message, in_lower_case, &query) {
            self.counters.local += 1;
            let write = |out: &mut [u8]| query.write_answer(out, question, &answer, true);
            return self.replies.send(&way, Source::Words(source), now, write);
        }
        let mut hasher = self.hasher.clone();
        hasher.write(key);
        let hash = hasher.finish();
        let asker = || {
            let spelling = Some(question).filter(|question| *question != in_lower_case || query.signed);
            Asker { way, query, question: spelling.map(Into::into), since: now }
        };
        if query.signed || query.for_subnet {
            return self.forward_privately(key, hash, Some(message).filter(|_| query.signed), asker());
        }
        match self.cache.as_mut().map_or(Found::Nothing, |cache| cache.get(key, hash, now / 1000)) {
            Found::Fresh(answer) => {
                self.counters.hits += 1;
                let write = |out: &mut [u8]| query.write_answer(out, question, answer, false);
                self.replies.send(&way, Source::Words("cache"), now, write);
            }
            Found::Stale(answer) => {
                self.counters.stale += 1;
                let mut answer = answer.to_vec();
                change_ttls(&mut answer, |_| STALE_TTL);
                let write = |out: &mut [u8]| query.write_answer(out, question, &answer, false);
                self.replies.send(&way, Source::Words("stale cache"), now, write);
            }
            Found::RunOut => self.forward(key, hash, true, asker()),
            Found::Nothing => self.forward(key, hash, false, asker()),
        }
    }
}
