//! Checks of the machine on which the doctor runs.

use std::path::Path;

use rustix::fs::statvfs;

use super::findings::Finding;

/// Percentages left of a disk, below which it is nearly full, and full.
const LOW: u64 = 10;
const FULL: u64 = 2;

const MAKE_ROOM: &str = "docs/runbooks.md#disknearlyfull";

/// Checks the disk that holds `folder`.
pub(super) fn disk(folder: &Path) -> Finding {
    match statvfs(folder) {
        Ok(disk) => judge(folder, disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize),
        Err(error) => Finding::warning("disk", format!("{}: {error}", folder.display()), "check --disk"),
    }
}

fn judge(folder: &Path, free_bytes: u64, bytes: u64) -> Finding {
    let percent = free_bytes.saturating_mul(100) / bytes.max(1);
    let detail = format!("{percent} % left at {} ({} MB)", folder.display(), free_bytes / 1_000_000);
    match percent {
        LOW.. => Finding::ok("disk", detail),
        FULL.. => Finding::warning("disk", detail, MAKE_ROOM),
        _ => Finding::failure("disk", detail, MAKE_ROOM),
    }
}

#[cfg(test)]
mod tests {
    use super::super::findings::State;
    use super::*;

    #[test]
    fn judges_the_share_that_is_left() {
        for (percent, want) in [(50, State::Ok), (10, State::Ok), (9, State::Warning), (1, State::Failure)] {
            let finding = judge(Path::new("data"), percent * 10_000_000, 1_000_000_000);
            assert_eq!(finding.state, want, "{finding:?}");
        }
        assert_eq!(disk(Path::new("/nonexistent")).state, State::Warning);
        assert!(disk(Path::new(".")).detail.contains("% left at ."));
    }
}
