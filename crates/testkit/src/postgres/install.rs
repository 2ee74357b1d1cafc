//! Installation: PostgreSQL's programs and data directories.

use std::env;
use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::geteuid;

use super::{PostgresError, is_ours};

/// Directory of the installed versions on Debian and Ubuntu.
const DEBIAN: &str = "/usr/lib/postgresql";
/// `pg_hba.conf`, first match wins: connections from this machine only.
const ACCESS: &str = "host all locked 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n";

/// Directory with the programs of one version.
#[derive(Debug)]
pub(super) struct Programs(PathBuf);

impl Programs {
    /// Finds the programs in `PATH`, else the newest version of Debian's.
    pub(super) fn find() -> Option<Self> {
        let path = env::var_os("PATH").unwrap_or_default();
        let in_path = env::split_paths(&path).filter_map(|folder| folder.join("initdb").canonicalize().ok());
        let in_path = in_path.filter_map(|program| program.parent().map(Path::to_owned));
        let versions = fs::read_dir(DEBIAN).into_iter().flatten().flatten();
        let mut debian: Vec<_> = versions.map(|version| version.path().join("bin")).collect();
        debian.sort_by_key(|bin| {
            let version = bin.parent().and_then(Path::file_name).and_then(|name| name.to_str());
            std::cmp::Reverse(version.and_then(|version| version.parse::<u32>().ok()))
        });
        let complete = |bin: &PathBuf| bin.join("initdb").is_file() && bin.join("postgres").is_file();
        in_path.chain(debian).find(complete).map(Self)
    }

    pub(super) fn path(&self, program: &str) -> PathBuf {
        self.0.join(program)
    }

    /// Returns a command with an empty environment.
    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.path(program));
        command.env_clear();
        command
    }
}

/// User that runs the server; PostgreSQL refuses to run as root.
#[derive(Debug)]
pub(super) enum Owner {
    /// The current user.
    Ourselves,
    /// Another user, because the current one is root.
    User { uid: u32, gid: u32 },
}

impl Owner {
    pub(super) fn find() -> Result<Self, PostgresError> {
        if !geteuid().is_root() {
            return Ok(Self::Ourselves);
        }
        let users = fs::read_to_string("/etc/passwd").map_err(PostgresError::io("/etc/passwd"))?;
        let user = ["postgres", "nobody"].into_iter().find_map(|name| {
            let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
            let mut fields = line.split(':').skip(2);
            Some(Self::User { uid: fields.next()?.parse().ok()?, gid: fields.next()?.parse().ok()? })
        });
        let output = "root needs a user postgres or nobody to run it as".to_owned();
        user.ok_or_else(|| PostgresError::Failed { program: "postgres".to_owned(), output })
    }

    /// Returns a command run as this user, which gets `signal` when the spawning thread ends.
    pub(super) fn command(&self, program: &Path, signal: &str) -> Command {
        let mut command = Command::new("setpriv");
        command.env_clear().env("PATH", "/usr/bin:/bin").args(["--pdeathsig", signal]);
        if let Self::User { uid, gid } = self {
            command.arg(format!("--reuid={uid}")).arg(format!("--regid={gid}")).arg("--clear-groups");
        }
        command.arg(program).current_dir("/");
        command
    }

    fn give(&self, folder: &Path) -> Result<(), PostgresError> {
        match self {
            Self::Ourselves => Ok(()),
            Self::User { uid, gid } => {
                chown(folder, Some(*uid), Some(*gid)).map_err(PostgresError::io(folder.to_string_lossy()))
            }
        }
    }
}

/// Creates the directory of a new server with its `data`, and the lock that marks it as in use.
pub(super) fn new_folder(programs: &Programs, owner: &Owner) -> Result<(PathBuf, File), PostgresError> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let base = env::temp_dir().join(format!("psicoia-postgres-{}", geteuid().as_raw()));
    make(&base)?;
    if !is_ours(&base).map_err(PostgresError::io(base.to_string_lossy()))? {
        let output = format!("{} is not a folder of ours alone", base.display());
        return Err(PostgresError::Failed { program: "testkit".to_owned(), output });
    }
    // Held while the template is made and stale directories are removed, so that processes do not interfere.
    let turn = lock(&base.join("lock"))?;
    remove_forgotten(&base);
    let template = template(programs, owner, &base)?;
    let name = format!("server-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let folder = base.join(name);
    make(&folder)?;
    let in_use = lock(&folder.join("lock"))?;
    drop(turn);
    run(Command::new("cp").args(["-a", "--reflink=auto"]).arg(template).arg(folder.join("data")))?;
    Ok((folder, in_use))
}

/// Returns the template made by `initdb`, once per version.
fn template(programs: &Programs, owner: &Owner, base: &Path) -> Result<PathBuf, PostgresError> {
    let version = run(programs.command("postgres").arg("--version"))?;
    let version: String = version.chars().filter(char::is_ascii_alphanumeric).collect();
    let template = base.join(format!("template-{version}"));
    if template.exists() {
        return Ok(template);
    }
    let unfinished = base.join("unfinished");
    let _ = fs::remove_dir_all(&unfinished);
    make(&unfinished)?;
    owner.give(&unfinished)?;
    let mut initdb = owner.command(&programs.path("initdb"), "TERM");
    initdb.args([
        "--no-sync",
        "--username=postgres",
        "--auth=trust",
        "--encoding=UTF8",
        "--locale=C",
        "--wal-segsize=1",
    ]);
    run(initdb.arg("-D").arg(unfinished.join("data")))?;
    let data = unfinished.join("data");
    fs::write(data.join("pg_hba.conf"), ACCESS).map_err(PostgresError::io("pg_hba.conf"))?;
    fs::rename(&data, &template).map_err(PostgresError::io("the template"))?;
    Ok(template)
}

/// Removes directories left by killed tests: their lock is free.
fn remove_forgotten(base: &Path) {
    for folder in fs::read_dir(base).into_iter().flatten().flatten() {
        let path = folder.path();
        let server = folder.file_name().to_string_lossy().starts_with("server-");
        if server && File::open(path.join("lock")).is_ok_and(|lock| lock.try_lock().is_ok()) {
            let _ = fs::remove_dir_all(path);
        }
    }
}

fn lock(file: &Path) -> Result<File, PostgresError> {
    let opened = File::options().create(true).append(true).open(file);
    let locked = opened.and_then(|file| file.lock().map(|()| file));
    locked.map_err(PostgresError::io(file.to_string_lossy()))
}

fn make(folder: &Path) -> Result<(), PostgresError> {
    DirBuilder::new().recursive(true).mode(0o755).create(folder).map_err(PostgresError::io(folder.to_string_lossy()))
}

/// Runs a program to its end; returns its output.
pub(super) fn run(command: &mut Command) -> Result<String, PostgresError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(PostgresError::io(program.as_str()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let output = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(PostgresError::Failed { program, output })
}
