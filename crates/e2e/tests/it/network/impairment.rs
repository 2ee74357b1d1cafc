//! Impairments of a link, by `tc netem` or, where the kernel lacks it, the closest substitute.

use std::net::SocketAddr;
use std::time::Duration;

use testkit::delay_proxy::DelayProxy;

use super::namespace::{Namespace, run, say};

/// One-way delay.
pub(super) const DELAY: Duration = Duration::from_millis(100);
pub(super) const RATE_BITS: u32 = 1_000_000;
/// Chains of iptables for the clients' packets.
const CHAINS: [&str; 2] = ["INPUT", "OUTPUT"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Impairment {
    /// Delays each direction by [`DELAY`].
    Delay,
    /// Drops 5 % of the packets.
    Loss,
    /// Limits the bandwidth to [`RATE_BITS`] per second.
    Rate,
}

/// Route to the services over an impaired link.
pub(super) struct ImpairedLink<'a> {
    net: Option<&'a Namespace>,
    with_netem: bool,
    /// Delay of the relays that substitute netem.
    hold: Option<Duration>,
    relays: Vec<DelayProxy>,
}

impl Impairment {
    /// Applies the impairment to both ends of the link.
    pub(super) fn on(self, net: &Namespace) -> ImpairedLink<'_> {
        let with_netem = netem(net, self.netem()).is_ok();
        say(&format!("{self:?} with {}", if with_netem { "tc netem" } else { self.substitute() }));
        if !with_netem {
            self.substitute_on(net);
        }
        let hold = (self == Self::Delay && !with_netem).then_some(DELAY);
        ImpairedLink { net: Some(net), with_netem, hold, relays: Vec::new() }
    }

    fn netem(self) -> &'static str {
        match self {
            Self::Delay => "delay 100ms",
            Self::Loss => "loss 5%",
            Self::Rate => "rate 1mbit",
        }
    }

    fn substitute(self) -> &'static str {
        match self {
            Self::Delay => "a relay",
            Self::Loss => "iptables",
            Self::Rate => "tc tbf",
        }
    }

    fn substitute_on(self, net: &Namespace) {
        let done = match self {
            Self::Delay => Ok(()),
            Self::Loss => CHAINS.iter().try_for_each(|chain| {
                let rule = "-m statistic --mode random --probability 0.05 -j DROP";
                net.run_inside(&format!("iptables -w -A {chain} {rule}")).map(drop)
            }),
            Self::Rate => shape(net, "tbf rate 1mbit burst 16kb latency 400ms"),
        };
        done.unwrap_or_else(|error| panic!("{error}\nneither tc netem nor {} works here", self.substitute()));
    }
}

/// Applies netem; an error where the kernel lacks it.
fn netem(net: &Namespace, impairment: &str) -> Result<(), String> {
    shape(net, &format!("netem {impairment}"))
}

/// Adds a queueing discipline to both ends.
fn shape(net: &Namespace, discipline: &str) -> Result<(), String> {
    run(&format!("tc qdisc add dev {} root {discipline}", net.near()))?;
    run(&format!("tc -n {} qdisc add dev {} root {discipline}", net.name(), net.far()))?;
    Ok(())
}

impl ImpairedLink<'_> {
    /// Link without impairment.
    pub(super) fn plain() -> Self {
        Self { net: None, with_netem: false, hold: None, relays: Vec::new() }
    }

    /// Address by which clients reach `service`.
    pub(super) async fn to(&mut self, service: SocketAddr) -> SocketAddr {
        let Some(hold) = self.hold else { return service };
        let relay = DelayProxy::start(service.ip(), service, hold).await.unwrap();
        let address = relay.address();
        self.relays.push(relay);
        address
    }

    /// Packets lost so far in both directions.
    pub(super) fn lost(&self) -> u64 {
        let Some(net) = self.net else { return 0 };
        if self.with_netem {
            let near = run(&format!("tc -s qdisc show dev {}", net.near()));
            let far = run(&format!("tc -n {} -s qdisc show dev {}", net.name(), net.far()));
            return [near, far].into_iter().map(|shown| after(&shown.unwrap(), "dropped ")).sum();
        }
        // "-A INPUT -m … -j DROP -c packets bytes"
        let shown = net.run_inside("iptables -w -v -S").unwrap();
        shown.lines().filter(|line| line.contains("-j DROP")).map(|line| after(line, "-c ")).sum()
    }
}

/// Parses the number after `label`.
fn after(text: &str, label: &str) -> u64 {
    let number = text.split_once(label).map(|(_, rest)| rest.split(|c: char| !c.is_ascii_digit()).next());
    number.flatten().and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no {label:?} in {text:?}"))
}
