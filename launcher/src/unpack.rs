//! Brings the program into its folder: one start at a time, under another name first, so that it is there whole or not at all.

use crate::archive::Archive;
use crate::failure::Failure;
use crate::place;
use crate::unpacked::{self, IN_USE, State, look};
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What a folder is called while it is being filled or removed.
const DRAFT: &str = ".new-";
const REMAINS: &str = ".old-";

/// How many versions are kept besides the one that starts.
const KEPT: usize = 2;

/// How long another start may take to unpack.
const LOCK_LIMIT: Duration = Duration::from_secs(120);
const LOCK_PAUSE: Duration = Duration::from_millis(20);
const LOCK_SILENCE: Duration = Duration::from_secs(2);

/// Gives the folder with the program below `root`, unpacked when it is not there or not whole, and a file to hold.
pub fn ensure(root: &Path, archive: &Archive) -> Result<(PathBuf, File), Failure> {
    place::prepare(root)?;
    let folder = root.join(&archive.id);
    if let State::Usable(held) = look(&folder, archive)? {
        return Ok((folder, held));
    }
    let lock = lock(root)?;
    // Another start may have done it meanwhile.
    match look(&folder, archive)? {
        State::Usable(held) => return Ok((folder, held)),
        State::Absent => {}
        State::Damaged => eprintln!("zonebench: the files in {} were changed or damaged", folder.display()),
    }
    eprintln!("zonebench: unpacking this version into {}", folder.display());
    if lock.is_some() {
        // Only a start with the lock makes such folders: those that are there were left by one that was killed.
        remove_leftovers(root);
    }
    let draft = root.join(format!("{DRAFT}{}", unique()));
    if let Err(failure) = fill(&draft, archive).and_then(|()| publish(&draft, &folder, root)) {
        // What went wrong first is what to report.
        _ = fs::remove_dir_all(&draft);
        return Err(failure);
    }
    if lock.is_some() {
        prune(root, &archive.id);
    }
    match look(&folder, archive)? {
        State::Usable(held) => Ok((folder, held)),
        _ => Err(Failure::Place(format!("{}: what was unpacked there was changed at once", folder.display()))),
    }
}

/// Waits for the lock of the folder. The system takes it from a program that ends, however it ends. `None` where the file
/// system has no locks: then two starts may both unpack, and one of the results is used.
fn lock(root: &Path) -> Result<Option<File>, Failure> {
    let path = root.join("lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&path)
        .map_err(|error| Failure::at(&path, "open it", &error))?;
    let begun = Instant::now();
    let mut silent = true;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::Error(_)) => return Ok(None),
            Err(TryLockError::WouldBlock) => {}
        }
        if begun.elapsed() > LOCK_LIMIT {
            return Err(Failure::Place(format!(
                "{}: another zonebench holds it for more than {} s",
                path.display(),
                LOCK_LIMIT.as_secs()
            )));
        }
        if silent && begun.elapsed() > LOCK_SILENCE {
            silent = false;
            eprintln!("zonebench: waiting for another one that unpacks into {}", root.display());
        }
        std::thread::sleep(LOCK_PAUSE);
    }
}

/// Writes everything into a new folder.
fn fill(draft: &Path, archive: &Archive) -> Result<(), Failure> {
    let bytes = archive.index.bytes();
    let unwritten = |path: &Path, error: &io::Error| place::unwritten(path, bytes, error);
    let make = |path: &Path| {
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| unwritten(path, &error))
    };
    make(draft)?;
    archive.unpack(
        |entry| {
            let path = draft.join(&entry.name);
            make(path.parent().unwrap_or(draft))?;
            OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)
                .map_err(|error| unwritten(&path, &error))
        },
        |entry, file| {
            let done = file.set_permissions(fs::Permissions::from_mode(entry.mode)).and_then(|()| file.sync_all());
            done.map_err(|error| unwritten(&draft.join(&entry.name), &error))
        },
        |entry, error| unwritten(&draft.join(&entry.name), error),
    )?;
    let in_use = draft.join(IN_USE);
    File::create_new(&in_use).map_err(|error| unwritten(&in_use, &error))?;
    let stamp = unpacked::stamp(draft, archive).map_err(|error| unwritten(draft, &error))?;
    unpacked::note(draft, &stamp).map_err(|error| unwritten(draft, &error))?;
    File::open(draft).and_then(|folder| folder.sync_all()).map_err(|error| unwritten(draft, &error))
}

/// Gives the filled folder its name.
fn publish(draft: &Path, folder: &Path, root: &Path) -> Result<(), Failure> {
    let failed = |error: &io::Error| Failure::at(folder, "rename it", error);
    if fs::symlink_metadata(folder).is_ok() {
        // Damaged: whoever still runs from it keeps the files that it has open.
        let remains = root.join(format!("{REMAINS}{}", unique()));
        fs::rename(folder, &remains).map_err(|error| failed(&error))?;
        _ = fs::remove_dir_all(&remains);
    }
    match fs::rename(draft, folder) {
        // Without locks another start may have been faster.
        Err(error) if matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists) => {
            _ = fs::remove_dir_all(draft);
            Ok(())
        }
        Err(error) => Err(failed(&error)),
        Ok(()) => {
            // The program works without it; after a loss of power it would be unpacked again.
            _ = File::open(root).and_then(|root| root.sync_all());
            Ok(())
        }
    }
}

fn remove_leftovers(root: &Path) {
    for (name, path) in entries(root) {
        if name.starts_with(DRAFT) || name.starts_with(REMAINS) {
            _ = fs::remove_dir_all(path);
        }
    }
}

/// Removes the versions that were not started for longest, but for `KEPT`, and none that runs.
fn prune(root: &Path, current: &str) {
    let version = |name: &str| name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit()) && name != current;
    let mut others: Vec<(SystemTime, PathBuf)> = entries(root)
        .filter(|(name, _)| version(name))
        .map(|(_, path)| {
            let used = fs::metadata(path.join(IN_USE)).and_then(|found| found.modified());
            (used.unwrap_or(UNIX_EPOCH), path)
        })
        .collect();
    others.sort();
    others.reverse();
    for (_, path) in others.into_iter().skip(KEPT) {
        let in_use = File::open(path.join(IN_USE));
        if in_use.as_ref().is_ok_and(|file| file.try_lock().is_err()) {
            continue;
        }
        // Under another name first: a start that comes now finds nothing rather than a part.
        let remains = root.join(format!("{REMAINS}{}", unique()));
        if fs::rename(&path, &remains).is_ok() {
            _ = fs::remove_dir_all(remains);
        }
    }
}

fn entries(root: &Path) -> impl Iterator<Item = (String, PathBuf)> {
    fs::read_dir(root)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
}

/// A name that no other start has at the same time.
fn unique() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{}-{}", std::process::id(), now.as_nanos())
}
