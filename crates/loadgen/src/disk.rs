//! Baseline of durable writes: latency of one block with fdatasync.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use tokio::time::Instant;

use crate::stats::{Latency, Percentiles};

/// Smallest write of a database: a page of its log.
const BLOCK_BYTES: usize = 4_096;
/// Blocks overwritten in turn, as in a log of constant size.
const BLOCKS: usize = 64;
/// Enough samples for a 99th percentile.
const TRIES: usize = 300;

/// Latency of a block write with fdatasync on a folder's disk.
#[derive(Debug, Clone, Serialize)]
pub struct DiskBaseline {
    /// File system type as in `/proc/self/mounts`; `None` if unknown.
    pub filesystem: Option<String>,
    /// Latency of a write with its flush.
    pub latency: Percentiles,
}

impl DiskBaseline {
    /// True for memory file systems, where nothing is durable.
    pub fn is_memory(&self) -> bool {
        matches!(self.filesystem.as_deref(), Some("tmpfs" | "ramfs"))
    }
}

impl fmt::Display for DiskBaseline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { filesystem, latency } = self;
        let kind = filesystem.as_deref().unwrap_or("unknown");
        let warning = if self.is_memory() { ": memory, not a disk" } else { "" };
        write!(f, "{latency} (4 KiB and fdatasync, {kind}{warning})")
    }
}

/// Measures with a temporary file in `folder`. Blocks for 300 flushes: run it on a blocking
/// thread.
///
/// # Errors
///
/// `folder` cannot be written to.
pub fn measure(folder: &Path) -> io::Result<DiskBaseline> {
    let scratch = Scratch::new(folder)?;
    let block = [0x5a; BLOCK_BYTES];
    let write = |number: usize| scratch.file.write_all_at(&block, ((number % BLOCKS) * BLOCK_BYTES) as u64);
    (0..BLOCKS).try_for_each(write)?;
    scratch.file.sync_all()?;
    let mut latency = Latency::default();
    for number in 0..TRIES {
        let start = Instant::now();
        write(number)?;
        scratch.file.sync_data()?;
        latency.record(start.elapsed());
    }
    let latency = latency.percentiles().expect("there were some tries");
    Ok(DiskBaseline { filesystem: filesystem(folder), latency })
}

/// File that is removed when dropped.
struct Scratch {
    file: File,
    path: PathBuf,
}

impl Scratch {
    fn new(folder: &Path) -> io::Result<Self> {
        let path = folder.join(format!("loadgen-floor-{}", std::process::id()));
        let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        Ok(Self { file, path })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Best effort: 256 KiB under a recognizable name.
        let _ = fs::remove_file(&self.path);
    }
}

fn filesystem(folder: &Path) -> Option<String> {
    let folder = folder.canonicalize().ok()?;
    kind_of(&fs::read_to_string("/proc/self/mounts").ok()?, &folder)
}

/// File system type of `folder`, by the lines of `/proc/self/mounts`.
fn kind_of(mounts: &str, folder: &Path) -> Option<String> {
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    // Of mounts at the same path the last one is visible; `max_by_key` also returns the last maximum.
    let seen = mounts.filter(|(place, _)| folder.starts_with(place)).max_by_key(|(place, _)| place.len())?;
    Some(seen.1.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_and_cleans_up() {
        let folder = std::env::temp_dir().join(format!("loadgen-disk-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let baseline = measure(&folder).unwrap();
        assert_eq!(baseline.latency.count, 300);
        assert!(0.0 < baseline.latency.p50_ms && baseline.latency.p50_ms <= baseline.latency.p99_ms, "{baseline}");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        fs::remove_dir(&folder).unwrap();
        assert_eq!(measure(&folder).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn selects_deepest_and_newest_mount() {
        let mounts =
            "rootfs / rootfs rw 0 0\n/dev/vda / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/vdb /tmp/db xfs rw 0 0\n";
        for (folder, kind) in
            [("/", "ext4"), ("/var/lib", "ext4"), ("/tmp/x", "tmpfs"), ("/tmp/db/a", "xfs"), ("/tmpx", "ext4")]
        {
            assert_eq!(kind_of(mounts, Path::new(folder)).as_deref(), Some(kind), "{folder}");
        }
        assert_eq!(kind_of("", Path::new("/")), None);
    }
}
