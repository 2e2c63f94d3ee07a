//! A program that lies unpacked in its folder: whether it is whole, and that it stays while it is in use.

use crate::archive::Archive;
use crate::failure::Failure;
use crate::place;
use sha2::{Digest, Sha256};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Held, with a shared lock, by every program that runs from the folder; its time is that of the last start.
pub const IN_USE: &str = "in-use";

/// What the files looked like when their hashes were last found right.
pub const STAMP: &str = "stamp";

pub enum State {
    /// Whole; it stays so while the file is open.
    Usable(File),
    /// Not there, or about to be removed.
    Absent,
    /// There, but not what was unpacked.
    Damaged,
}

/// Looks whether the program lies in `folder` as it was unpacked. Usually this costs one look at each file: only when sizes,
/// times or inodes are others than at the last full check, everything is read and hashed.
pub fn look(folder: &Path, archive: &Archive) -> Result<State, Failure> {
    let Some(held) = hold(folder)? else { return Ok(State::Absent) };
    place::private(folder, &fs::symlink_metadata(folder).map_err(|error| Failure::at(folder, "look at it", &error))?)?;
    let Ok(seen) = stamp(folder, archive) else { return Ok(State::Damaged) };
    let noted = fs::read_to_string(folder.join(STAMP)).unwrap_or_default();
    if noted != seen {
        if !hashes_fit(folder, archive) {
            return Ok(State::Damaged);
        }
        // Where it cannot be noted (a read-only file system), the next start checks in full again.
        _ = note(folder, &seen);
    }
    Ok(State::Usable(held))
}

/// Takes the shared lock on the folder, so that no other version's start removes it. `None` where there is nothing to hold.
fn hold(folder: &Path) -> Result<Option<File>, Failure> {
    let path = folder.join(IN_USE);
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NOFOLLOW);
    let opened = match options.clone().write(true).open(&path) {
        // Unpacked in advance on what is read-only now.
        Err(error) if matches!(error.kind(), io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied) => {
            options.open(&path)
        }
        other => other,
    };
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Failure::at(&path, "open it", &error)),
    };
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => return Ok(None),
        // A file system without locks: nothing is removed there either, see unpack.rs.
        Ok(()) | Err(TryLockError::Error(_)) => {}
    }
    // It may have been removed, or made anew, between the two calls.
    let same = match (file.metadata(), fs::symlink_metadata(&path)) {
        (Ok(own), Ok(named)) => own.ino() == named.ino() && own.dev() == named.dev(),
        _ => false,
    };
    // Only tells which version is the one that was used longest ago.
    _ = file.set_modified(SystemTime::now());
    Ok(same.then_some(file))
}

/// Lets the file stay open in the program that this one becomes.
pub fn keep_open(file: &File) -> io::Result<()> {
    // SAFETY: the descriptor is open as long as `file` lives.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFD, 0) } == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// One line for each file: what changes when it does. The time of the last change of status cannot be set to a wanted value.
pub fn stamp(folder: &Path, archive: &Archive) -> io::Result<String> {
    let mut text = format!("{}\n", archive.id);
    for entry in &archive.index.files {
        let found = fs::symlink_metadata(folder.join(&entry.name))?;
        if !found.is_file() || found.len() != entry.size || found.mode() & 0o777 != entry.mode {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let times = [found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec()];
        text += &format!("{} {times:?} {}\n", found.ino(), entry.name);
    }
    Ok(text)
}

/// Writes the stamp, whole or not at all.
pub fn note(folder: &Path, text: &str) -> io::Result<()> {
    let draft: PathBuf = folder.join(format!("{STAMP}.{}", std::process::id()));
    fs::write(&draft, text).and_then(|()| fs::rename(&draft, folder.join(STAMP))).inspect_err(|_| {
        _ = fs::remove_file(&draft);
    })
}

fn hashes_fit(folder: &Path, archive: &Archive) -> bool {
    archive.index.files.iter().all(|entry| hash(&folder.join(&entry.name)).is_ok_and(|found| found == entry.sha256))
}

fn hash(path: &Path) -> io::Result<[u8; 32]> {
    let mut file = File::open(path)?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 17];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(digest.finalize().into()),
            got => digest.update(&buffer[..got]),
        }
    }
}
