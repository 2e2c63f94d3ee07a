//! Where the program may be unpacked: a folder that belongs to this user alone.

use crate::failure::{Failure, plain};
use std::env;
use std::ffi::CString;
use std::fs::{self, DirBuilder, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Folders to try, the first the best.
pub fn candidates() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    // The XDG base directory specification: what is not absolute is to be ignored.
    match absolute("XDG_CACHE_HOME") {
        Some(cache) => folders.push(cache.join("zonebench")),
        None => folders.extend(home().map(|home| home.join(".cache").join("zonebench"))),
    }
    // Shared with others: the name tells users apart, the checks below whose it is.
    let temporary = absolute("TMPDIR").unwrap_or_else(|| PathBuf::from("/tmp"));
    folders.push(temporary.join(format!("zonebench-{}", user())));
    folders
}

/// Makes the folder where it is missing and refuses one that somebody else could have put something into.
pub fn prepare(folder: &Path) -> Result<(), Failure> {
    if let Some(parent) = folder.parent() {
        // Those above are the user's and not secret; ours is made by itself, so that it is new or checked.
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(parent)
            .map_err(|error| Failure::at(parent, "make it", &error))?;
        let above = fs::metadata(parent).map_err(|error| Failure::at(parent, "look at it", &error))?;
        if above.mode() & 0o002 != 0 && above.mode() & 0o1000 == 0 {
            return Err(Failure::Refused(format!(
                "{}: anybody may replace what is in it (chmod +t is missing)",
                parent.display()
            )));
        }
    }
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(Failure::at(folder, "make it", &error));
        }
        _ => {}
    }
    let found = fs::symlink_metadata(folder).map_err(|error| Failure::at(folder, "look at it", &error))?;
    private(folder, &found)?;
    if runs_nothing(folder) {
        return Err(Failure::Place(format!("{}: programs may not run from there (noexec)", folder.display())));
    }
    Ok(())
}

/// Refuses a folder that is not this user's alone.
pub fn private(folder: &Path, found: &Metadata) -> Result<(), Failure> {
    let refuse = |what: String| {
        Err(Failure::Refused(format!("{}: {what}: not used; remove it if it should be", folder.display())))
    };
    if found.file_type().is_symlink() {
        return refuse("a symbolic link, expected a folder".to_owned());
    }
    if !found.is_dir() {
        return refuse("expected a folder, got something else".to_owned());
    }
    if found.uid() != user() {
        return refuse(format!("belongs to user {}, expected {}", found.uid(), user()));
    }
    if found.mode() & 0o077 != 0 {
        return refuse(format!("open to other users (mode {:o}, expected 700)", found.mode() & 0o777));
    }
    Ok(())
}

/// Bytes that this user may still write there.
pub fn free(folder: &Path) -> Option<u64> {
    let state = file_system(folder)?;
    Some(state.f_bavail.saturating_mul(state.f_frsize))
}

fn runs_nothing(folder: &Path) -> bool {
    file_system(folder).is_some_and(|state| state.f_flag & libc::ST_NOEXEC != 0)
}

fn file_system(folder: &Path) -> Option<libc::statvfs> {
    let path = CString::new(folder.as_os_str().as_bytes()).ok()?;
    let mut state = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: the path ends with a zero byte; the structure is read only when the call says that it has filled it.
    unsafe { (libc::statvfs(path.as_ptr(), state.as_mut_ptr()) == 0).then(|| state.assume_init()) }
}

fn user() -> u32 {
    // SAFETY: takes nothing, cannot fail.
    unsafe { libc::geteuid() }
}

fn absolute(name: &str) -> Option<PathBuf> {
    env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// The home folder; with an empty environment, as under some service managers, what /etc/passwd says.
fn home() -> Option<PathBuf> {
    absolute("HOME").or_else(|| {
        let users = fs::read_to_string("/etc/passwd").ok()?;
        let own = user().to_string();
        let fields = |line: &str| line.split(':').map(str::to_owned).collect::<Vec<_>>();
        let found = users.lines().map(fields).find(|fields| fields.len() == 7 && fields[2] == own)?;
        Some(PathBuf::from(&found[5])).filter(|path| path.is_absolute())
    })
}

/// Says why none of the folders could be used, and what helps.
pub fn nowhere(reasons: &[Failure], bytes: u64) -> String {
    let lines: String = reasons.iter().map(|reason| format!("\n  {reason}")).collect();
    format!(
        "found no folder to unpack the program into:{lines}\nLet XDG_CACHE_HOME or TMPDIR name a folder of yours with {} MB free.",
        bytes.div_ceil(1_000_000)
    )
}

/// What writing there ended with; for a full disk, how full.
pub fn unwritten(path: &Path, bytes: u64, error: &io::Error) -> Failure {
    let folder = path.parent().unwrap_or(path);
    match (error.kind(), free(folder)) {
        (io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded, Some(free)) => Failure::Place(format!(
            "{}: {}: {} MB are needed, {} MB were left when it ended",
            folder.display(),
            plain(error),
            bytes.div_ceil(1_000_000),
            free / 1_000_000
        )),
        _ => Failure::at(path, "write it", error),
    }
}
