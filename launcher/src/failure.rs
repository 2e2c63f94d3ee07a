//! What stops a start, said so that a person can do something about it.

use std::fmt;
use std::io;
use std::path::Path;

pub enum Failure {
    /// This file cannot be used: no other folder helps.
    File(String),
    /// A folder cannot be used; another one may.
    Place(String),
    /// The same, but somebody should know of it: others have, or had, a hand in the folder.
    Refused(String),
}

impl Failure {
    /// What a system call on a path in the cache ended with.
    pub fn at(path: &Path, doing: &str, error: &io::Error) -> Self {
        Self::Place(format!("{}: cannot {doing}: {}", path.display(), plain(error)))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        let (Self::File(text) | Self::Place(text) | Self::Refused(text)) = self;
        out.write_str(text)
    }
}

/// The system's words, without the number that Rust appends.
pub fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}
