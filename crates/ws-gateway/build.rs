//! Rebuilds the crate when a file of the web client comes or goes.

fn main() {
    println!("cargo:rerun-if-changed=../../web");
}
