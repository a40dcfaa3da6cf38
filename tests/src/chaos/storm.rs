//! What happens to the nodes and their lines: seeded faults, each with its end.
//!
//! One seed decides which fault comes when and for how long. What the processes make of it is theirs: a run
//! is not repeated to the byte, but the same weather can be had again.

use std::{collections::BTreeSet, fmt, net::SocketAddr, time::Duration};

use tokio::time::Instant;
use warifu_simulator::chance::Chance;

use super::{
    Trouble,
    proxy::{Proxy, Weather},
};
use crate::processes::{Node, Testnet};

/// A line between two parties, by who dials whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Link {
    /// The device's line to the broker.
    DeviceToBroker,
    /// The device's line to the trust operator: enrolments, words, looking for a head.
    DeviceToTrustOperator,
    /// The operators' own line.
    Operators,
}

impl Link {
    /// All lines.
    pub const ALL: [Self; 3] = [
        Self::DeviceToBroker,
        Self::DeviceToTrustOperator,
        Self::Operators,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::DeviceToBroker => "device → broker",
            Self::DeviceToTrustOperator => "device → trust operator",
            Self::Operators => "broker → trust operator",
        }
    }
}

/// The proxies of all lines.
#[derive(Debug)]
pub struct Links {
    device_to_broker: Proxy,
    device_to_trust_operator: Proxy,
    operators: Proxy,
}

impl Links {
    /// Proxies for what listens at these addresses.
    ///
    /// # Errors
    /// When no port can be listened on.
    pub async fn start(broker: SocketAddr, trust_operator: SocketAddr) -> std::io::Result<Self> {
        Ok(Self {
            device_to_broker: Proxy::start(broker).await?,
            device_to_trust_operator: Proxy::start(trust_operator).await?,
            operators: Proxy::start(trust_operator).await?,
        })
    }

    /// A line's proxy.
    #[must_use]
    pub const fn of(&self, link: Link) -> &Proxy {
        match link {
            Link::DeviceToBroker => &self.device_to_broker,
            Link::DeviceToTrustOperator => &self.device_to_trust_operator,
            Link::Operators => &self.operators,
        }
    }
}

/// What is done to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL; started again at the end.
    Kill(Node),
    /// SIGSTOP; SIGCONT at the end.
    Pause(Node),
    /// Weather; fair again at the end.
    Weather(Link, Weather),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(node) => write!(f, "kill the {}", node.name()),
            Self::Pause(node) => write!(f, "stop the {}", node.name()),
            Self::Weather(link, Weather::Fair) => write!(f, "{}: fair", link.name()),
            Self::Weather(link, Weather::Cut) => write!(f, "{}: cut", link.name()),
            Self::Weather(link, Weather::Stalled { there, back }) => {
                write!(f, "{}: stalled (there {there}, back {back})", link.name())
            }
            Self::Weather(link, Weather::Slow { delay, bytes_per_s }) => {
                write!(f, "{}: slow ({delay:?}, {bytes_per_s} B/s)", link.name())
            }
        }
    }
}

/// Whom a fault strikes: one fault at a time each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Struck {
    Node(Node),
    Link(Link),
}

impl Fault {
    const fn strikes(self) -> Struck {
        match self {
            Self::Kill(node) | Self::Pause(node) => Struck::Node(node),
            Self::Weather(link, _) => Struck::Link(link),
        }
    }
}

/// A fault and for how long, as the seed says.
#[must_use]
pub fn choose(chance: &mut Chance) -> (Fault, Duration) {
    let node = Node::ALL[chance.below(3) as usize];
    let link = Link::ALL[chance.below(3) as usize];
    // Most are short, so that much happens; some outlast the lines' 5 s of patience.
    let is_long = chance.one_in(8);
    match chance.below(12) {
        0..=3 => (Fault::Kill(node), lasts(chance, is_long, 1_200, 6_000)),
        4 | 5 => (Fault::Pause(node), lasts(chance, is_long, 2_000, 8_000)),
        6 | 7 => {
            let time = lasts(chance, is_long, 2_500, 8_000);
            (Fault::Weather(link, Weather::Cut), time)
        }
        8 | 9 => {
            let way = chance.below(3);
            let weather = Weather::Stalled {
                there: way != 0,
                back: way != 1,
            };
            let time = lasts(chance, is_long, 3_000, 9_000);
            (Fault::Weather(link, weather), time)
        }
        _ => {
            let weather = Weather::Slow {
                delay: Duration::from_millis(chance.between(5, 200)),
                bytes_per_s: chance.between(2_000, 200_000) as u32,
            };
            let time = lasts(chance, is_long, 4_000, 10_000);
            (Fault::Weather(link, weather), time)
        }
    }
}

fn lasts(chance: &mut Chance, is_long: bool, short: u64, long: u64) -> Duration {
    let most = if is_long { long } else { short };
    Duration::from_millis(chance.between(most / 20, most))
}

/// How often what was done.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    /// SIGKILLs.
    pub kills: u64,
    /// SIGSTOPs.
    pub stops: u64,
    /// Lines cut.
    pub cuts: u64,
    /// Lines stalled half-open.
    pub stalls: u64,
    /// Lines made slow.
    pub slow: u64,
}

/// The faults of one run.
pub struct Storm {
    net: Testnet,
    links: Links,
    chance: Chance,
    begun: Instant,
    under_way: Vec<(Instant, Fault)>,
    /// What was done so far.
    pub counts: Counts,
    /// What was done and when, for whoever must find out.
    pub story: Vec<String>,
}

impl Storm {
    /// Over a running testnet, whose lines go through these links.
    #[must_use]
    pub fn over(net: Testnet, links: Links, chance: Chance) -> Self {
        Self {
            net,
            links,
            chance,
            begun: Instant::now(),
            under_way: Vec::new(),
            counts: Counts::default(),
            story: Vec::new(),
        }
    }

    fn tell(&mut self, what: impl fmt::Display) {
        let at = self.begun.elapsed().as_secs_f64();
        self.story.push(format!("{at:8.3} s  {what}"));
    }

    /// Strikes for this long; `look` is called between two faults.
    ///
    /// # Errors
    /// When a node does not start again.
    pub async fn rage(
        &mut self,
        lasts: Duration,
        mut look: impl FnMut(&Counts),
    ) -> Result<(), Trouble> {
        let end = Instant::now() + lasts;
        loop {
            let calm = Duration::from_millis(self.chance.between(100, 1_400));
            let next = Instant::now() + calm;
            self.end_those_due(next.min(end)).await?;
            if Instant::now() >= end {
                return Ok(());
            }
            // Now and then two at once.
            for _ in 0..1 + u64::from(self.chance.one_in(4)) {
                let (fault, lasts) = choose(&mut self.chance);
                self.strike(fault, lasts);
            }
            look(&self.counts);
        }
    }

    /// Ends what is due until then, and returns then.
    async fn end_those_due(&mut self, until: Instant) -> Result<(), Trouble> {
        loop {
            let first = self.under_way.iter().enumerate();
            let due = first
                .min_by_key(|(_, (end, _))| *end)
                .map(|(n, (end, _))| (n, *end));
            match due {
                Some((number, end)) if end <= until => {
                    tokio::time::sleep_until(end).await;
                    let (_, fault) = self.under_way.swap_remove(number);
                    self.end(fault)?;
                }
                _ => {
                    tokio::time::sleep_until(until).await;
                    return Ok(());
                }
            }
        }
    }

    fn strike(&mut self, fault: Fault, lasts: Duration) {
        let struck: BTreeSet<Struck> = self.under_way.iter().map(|(_, f)| f.strikes()).collect();
        if struck.contains(&fault.strikes()) {
            return;
        }
        self.tell(format!("{fault} for {lasts:?}"));
        match fault {
            Fault::Kill(node) => {
                self.net.kill(node);
                self.counts.kills += 1;
            }
            Fault::Pause(node) => {
                self.net.signal(node, "STOP");
                self.counts.stops += 1;
            }
            Fault::Weather(link, weather) => {
                self.links.of(link).set(weather);
                match weather {
                    Weather::Cut => self.counts.cuts += 1,
                    Weather::Stalled { .. } => self.counts.stalls += 1,
                    Weather::Slow { .. } => self.counts.slow += 1,
                    Weather::Fair => {}
                }
            }
        }
        self.under_way.push((Instant::now() + lasts, fault));
    }

    fn end(&mut self, fault: Fault) -> Result<(), Trouble> {
        match fault {
            Fault::Kill(node) => {
                tokio::task::block_in_place(|| self.net.start(node))?;
                self.tell(format!("the {} is ready again", node.name()));
            }
            Fault::Pause(node) => {
                self.net.signal(node, "CONT");
                self.tell(format!("the {} goes on", node.name()));
            }
            Fault::Weather(link, _) => {
                self.links.of(link).set(Weather::Fair);
                self.tell(Fault::Weather(link, Weather::Fair));
            }
        }
        Ok(())
    }

    /// Ends every fault now, and waits until the broker says that logins are possible.
    ///
    /// # Errors
    /// When a node does not start again, or the operators do not find each other.
    pub fn heal(&mut self) -> Result<(), Trouble> {
        for (_, fault) in std::mem::take(&mut self.under_way) {
            self.end(fault)?;
        }
        self.tell("all is healed");
        tokio::task::block_in_place(|| self.net.wait_ready())?;
        self.tell("the broker says that logins are possible");
        Ok(())
    }

    /// The nodes, and the story so far.
    pub fn over_with(self) -> (Testnet, Links, Counts, Vec<String>) {
        (self.net, self.links, self.counts, self.story)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_is_one_weather_and_every_fault_comes() {
        let chosen = |seed| {
            let mut chance = Chance::new(seed, 9);
            (0..400).map(|_| choose(&mut chance)).collect::<Vec<_>>()
        };
        let storm = chosen(1);
        assert_eq!(storm, chosen(1));
        assert_ne!(storm, chosen(2));
        for node in Node::ALL {
            for fault in [Fault::Kill(node), Fault::Pause(node)] {
                assert!(storm.iter().any(|(f, _)| *f == fault), "no {fault}");
            }
        }
        for link in Link::ALL {
            let on_it = |f: &Fault| match f {
                Fault::Weather(at, weather) if *at == link => Some(*weather),
                _ => None,
            };
            let weathers: Vec<_> = storm.iter().filter_map(|(f, _)| on_it(f)).collect();
            assert!(weathers.contains(&Weather::Cut));
            assert!(weathers.iter().any(|w| matches!(w, Weather::Slow { .. })));
            for (there, back) in [(true, true), (true, false), (false, true)] {
                assert!(weathers.contains(&Weather::Stalled { there, back }));
            }
        }
        let longest = storm.iter().map(|(_, lasts)| *lasts).max().unwrap();
        assert!(
            longest > Duration::from_secs(5),
            "none outlasts the lines' patience"
        );
    }
}
