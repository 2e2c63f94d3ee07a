//! The beginning of dist/zonebench: unpacks the program that is appended to it, once per version, into a folder of the
//! user's own, and becomes that program. Signals and exit codes are the program's: there is no process in between.

mod archive;
mod failure;
mod index;
mod place;
mod unpack;
mod unpacked;

use archive::Archive;
use failure::{Failure, plain};
use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let Err(failure) = run();
    eprintln!("zonebench: {failure}");
    ExitCode::FAILURE
}

/// Returns only when the program could not be started.
fn run() -> Result<std::convert::Infallible, Failure> {
    let archive = Archive::open()?;
    let (folder, held) = unpacked_somewhere(&archive)?;
    unpacked::keep_open(&held).map_err(|error| Failure::at(&folder, "hold it", &error))?;
    let error = command(&folder, &archive).exec();
    let why = match error.kind() {
        // The file is there: what is missing is the loader that it names.
        io::ErrorKind::NotFound => "this machine has no glibc (2.27 or newer is needed)".to_owned(),
        _ => plain(&error),
    };
    Err(Failure::File(format!("cannot start {}: {why}", folder.join(&archive.index.runtime).display())))
}

fn unpacked_somewhere(archive: &Archive) -> Result<(PathBuf, File), Failure> {
    let mut reasons = Vec::new();
    for root in place::candidates() {
        match unpack::ensure(&root, archive) {
            Err(Failure::File(text)) => return Err(Failure::File(text)),
            Err(reason) => reasons.push(reason),
            Ok(unpacked) => {
                for reason in reasons.iter().filter(|reason| matches!(reason, Failure::Refused(_))) {
                    eprintln!("zonebench: {reason}");
                }
                return Ok(unpacked);
            }
        }
    }
    Err(Failure::File(place::nowhere(&reasons, archive.index.bytes())))
}

fn command(folder: &Path, archive: &Archive) -> Command {
    let within = |text: &str| match text.strip_prefix("{}/") {
        Some(name) => folder.join(name).into_os_string(),
        None => OsString::from(text),
    };
    let mut command = Command::new(folder.join(&archive.index.runtime));
    command.arg0("zonebench");
    command.args(archive.index.arguments.iter().map(|it| within(it)));
    command.args(env::args_os().skip(1));
    // What the program is and may do stands in this file, not in what the machine has set for a runtime of its own.
    for (name, _) in env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"DENO_") || name == "NODE_OPTIONS" {
            command.env_remove(name);
        }
    }
    // An empty environment names no place for the tools that the program calls.
    if env::var_os("PATH").is_none_or(|path| path.is_empty()) {
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    }
    command.envs(archive.index.environment.iter().map(|(name, value)| (name, within(value))));
    command
}
