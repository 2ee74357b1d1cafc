//! Network namespace with a veth link. Needs root and `ip` of iproute2.

use std::net::Ipv4Addr;
use std::process::{Command, id};
use std::sync::atomic::{AtomicU32, Ordering};

/// Skips these tests if set to 1, where namespaces are not allowed.
const SKIP: &str = "PSICOIA_NO_NETNS";
const NEEDED: &str = "these tests make network namespaces: they need root (CAP_NET_ADMIN, CAP_SYS_ADMIN) and \
                      `ip`, `tc` and `iptables` (Debian: iproute2, iptables). PSICOIA_NO_NETNS=1 leaves them out";
/// Number of names used by this process.
static NAMES: AtomicU32 = AtomicU32::new(0);

/// Namespace with the clients' end of a link; the other end is in this process's namespace.
/// Both are removed on drop.
pub(super) struct Namespace {
    name: String,
    /// Second and third byte of its addresses.
    block: [u8; 2],
}

impl Namespace {
    /// Creates one; prints a note and returns `None` where these tests are disabled.
    pub(super) fn create() -> Option<Self> {
        if std::env::var_os(SKIP).is_some_and(|skip| skip == "1") {
            say(&format!("skipped: {SKIP}=1"));
            return None;
        }
        let number = NAMES.fetch_add(1, Ordering::Relaxed);
        let net = Self { name: format!("psi{}x{number}", id()), block: free_block(id() + number) };
        run(&format!("ip netns add {}", net.name)).unwrap_or_else(|error| panic!("{error}\n{NEEDED}"));
        let (name, near, far) = (&net.name, net.near(), net.far());
        for command in [
            format!("ip link add {near} type veth peer name {far} netns {name}"),
            format!("ip address add {}/24 dev {near}", net.here()),
            format!("ip link set {near} up"),
            format!("ip -n {name} address add {}/24 dev {far}", net.address(2)),
            format!("ip -n {name} link set {far} up"),
        ] {
            run(&command).unwrap_or_else(|error| panic!("{error}\n{NEEDED}"));
        }
        Some(net)
    }

    /// Address of this process's end.
    pub(super) fn here(&self) -> Ipv4Addr {
        self.address(1)
    }

    fn address(&self, last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, self.block[0], self.block[1], last)
    }

    /// Device at this process's end.
    pub(super) fn near(&self) -> String {
        format!("{}h", self.name)
    }

    /// Device at the clients' end.
    pub(super) fn far(&self) -> String {
        format!("{}g", self.name)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Takes the link down, at the clients' end, which has no other route.
    pub(super) fn cut(&self) {
        self.set_link("down");
    }

    /// Takes the link up.
    pub(super) fn join(&self) {
        self.set_link("up");
    }

    fn set_link(&self, state: &str) {
        run(&format!("ip -n {} link set {} {state}", self.name, self.far())).unwrap();
    }

    /// Runs `command` in the namespace and returns its output.
    pub(super) fn run_inside(&self, command: &str) -> Result<String, String> {
        run(&format!("ip netns exec {} {command}", self.name))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Delete the device first: with the namespace alone it would persist until its last process ends.
        let _ = (run(&format!("ip link delete {}", self.near())), run(&format!("ip netns delete {}", self.name)));
    }
}

/// Finds a /24 block without a route on this machine, from `start` on.
fn free_block(start: u32) -> [u8; 2] {
    let blocks = (start..).map(|number| [(number >> 8).to_le_bytes()[0], number.to_le_bytes()[0]]).take(1_000);
    let free = |[high, low]: &[u8; 2]| {
        let ways = run(&format!("ip route show to match 10.{high}.{low}.0/24"));
        ways.is_ok_and(|ways| ways.lines().all(|way| way.starts_with("default")))
    };
    blocks.into_iter().find(free).unwrap_or_else(|| panic!("no block of addresses is free\n{NEEDED}"))
}

/// Runs a command split at blanks; returns its output, or the error text.
pub(super) fn run(command: &str) -> Result<String, String> {
    let mut words = command.split_whitespace();
    let mut process = Command::new(words.next().unwrap_or_default());
    let output = process.args(words).output().map_err(|error| format!("{command}: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!("{command}: {}", String::from_utf8_lossy(&output.stderr)))
    }
}

#[expect(clippy::print_stderr, reason = "shown by the test runner")]
pub(super) fn say(text: &str) {
    eprintln!("network: {text}");
}
