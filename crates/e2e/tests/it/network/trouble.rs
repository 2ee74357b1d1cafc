//! What is wrong with a link. With `tc netem` where the kernel has it, else with what comes closest.

use std::net::SocketAddr;
use std::time::Duration;

use testkit::delay_proxy::DelayProxy;

use super::net::{Net, run, say};

/// Of each way.
pub(super) const DELAY: Duration = Duration::from_millis(100);
pub(super) const RATE_BITS: u32 = 1_000_000;
/// Chains of iptables through which people's packets go, in and out.
const CHAINS: [&str; 2] = ["INPUT", "OUTPUT"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Everything comes [`DELAY`] later.
    Delay,
    /// One of twenty packets is lost.
    Loss,
    /// [`RATE_BITS`] a second.
    Rate,
}

/// A way to the services over a link with some trouble.
pub(super) struct Road<'a> {
    net: Option<&'a Net>,
    with_netem: bool,
    /// Relays take this long.
    hold: Option<Duration>,
    relays: Vec<DelayProxy>,
}

impl Trouble {
    /// Imposes it on both ends of the link.
    pub(super) fn on(self, net: &Net) -> Road<'_> {
        let with_netem = netem(net, self.netem()).is_ok();
        say(&format!("{self:?} with {}", if with_netem { "tc netem" } else { self.substitute() }));
        if !with_netem {
            self.substitute_on(net);
        }
        let hold = (self == Self::Delay && !with_netem).then_some(DELAY);
        Road { net: Some(net), with_netem, hold, relays: Vec::new() }
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

    fn substitute_on(self, net: &Net) {
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

/// Fails where the kernel has no netem.
fn netem(net: &Net, trouble: &str) -> Result<(), String> {
    shape(net, &format!("netem {trouble}"))
}

/// Puts a queueing discipline on both ends.
fn shape(net: &Net, discipline: &str) -> Result<(), String> {
    run(&format!("tc qdisc add dev {} root {discipline}", net.near()))?;
    run(&format!("tc -n {} qdisc add dev {} root {discipline}", net.name(), net.far()))?;
    Ok(())
}

impl Road<'_> {
    /// A link with nothing wrong.
    pub(super) fn plain() -> Self {
        Self { net: None, with_netem: false, hold: None, relays: Vec::new() }
    }

    /// Where people connect who want to go to `service`.
    pub(super) async fn to(&mut self, service: SocketAddr) -> SocketAddr {
        let Some(hold) = self.hold else { return service };
        let relay = DelayProxy::start(service.ip(), service, hold).await.unwrap();
        let address = relay.address();
        self.relays.push(relay);
        address
    }

    /// Packets lost so far, both ways.
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

/// The number behind `label`.
fn after(text: &str, label: &str) -> u64 {
    let number = text.split_once(label).map(|(_, rest)| rest.split(|c: char| !c.is_ascii_digit()).next());
    number.flatten().and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no {label:?} in {text:?}"))
}
