//! The table of contents of the appended program, and how it is started. Lines of text, each a word and what belongs to it:
//!
//! ```text
//! zonebench 1
//! runtime NAME                   the file that is started
//! set NAME VALUE                 of the environment
//! argument TEXT                  before those of the user
//! file MODE SIZE SHA256 NAME     in the order of their contents
//! ```
//!
//! `{}/` at the beginning of a value or an argument stands for the folder with the files.

use std::path::{Component, Path};

const FORMAT: &str = "zonebench 1";

/// More than any program has; what is read from a file is bounded.
const MOST_FILES: usize = 4096;
const MOST_BYTES: u64 = 1 << 32;

pub struct Entry {
    pub mode: u32,
    pub size: u64,
    pub sha256: [u8; 32],
    pub name: String,
}

#[derive(Default)]
pub struct Index {
    pub runtime: String,
    pub environment: Vec<(String, String)>,
    pub arguments: Vec<String>,
    pub files: Vec<Entry>,
}

impl Index {
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut lines = text.lines();
        let first = lines.next().unwrap_or_default();
        if first != FORMAT {
            return Err(format!("expected \"{FORMAT}\" on its first line, got \"{first}\""));
        }
        let mut index = Self::default();
        for line in lines {
            index.take(line).ok_or_else(|| format!("cannot read its line \"{line}\""))?;
        }
        if index.bytes() > MOST_BYTES || index.files.len() > MOST_FILES {
            return Err(format!("{} files with {} bytes are too many", index.files.len(), index.bytes()));
        }
        if !index.files.iter().any(|file| file.name == index.runtime) {
            return Err(format!("it has no file \"{}\" to start", index.runtime));
        }
        Ok(index)
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.size))
    }

    fn take(&mut self, line: &str) -> Option<()> {
        let (word, rest) = line.split_once(' ')?;
        match word {
            "runtime" => self.runtime = rest.to_owned(),
            "argument" => self.arguments.push(rest.to_owned()),
            "set" => {
                let (name, value) = rest.split_once(' ')?;
                self.environment.push((name.to_owned(), value.to_owned()));
            }
            "file" => self.files.push(entry(rest)?),
            _ => return None,
        }
        Some(())
    }
}

fn entry(text: &str) -> Option<Entry> {
    let mut fields = text.splitn(4, ' ');
    let mode = u32::from_str_radix(fields.next()?, 8).ok().filter(|mode| mode & !0o777 == 0)?;
    let size = fields.next()?.parse().ok()?;
    let sha256 = digest(fields.next()?)?;
    let name = fields.next()?;
    // Nothing may be written beside the folder that it is for.
    let within = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
    (within && !name.is_empty()).then(|| Entry { mode, size, sha256, name: name.to_owned() })
}

fn digest(hex: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "file 755 3 ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad run";

    fn refused(text: &str) -> String {
        Index::parse(text).err().expect("it must be refused")
    }

    #[test]
    fn reads_what_it_is_for() {
        let index = Index::parse(&format!("zonebench 1\nruntime run\nset A b c\nargument  x\n{FILE}\n")).ok().unwrap();
        assert_eq!(index.runtime, "run");
        assert_eq!(index.environment, [("A".to_owned(), "b c".to_owned())]);
        assert_eq!(index.arguments, [" x"]);
        assert_eq!((index.files[0].mode, index.files[0].size, index.files[0].name.as_str()), (0o755, 3, "run"));
        assert_eq!(hex(&index.files[0].sha256), FILE.split(' ').nth(3).unwrap());
    }

    #[test]
    fn refuses_names_that_leave_the_folder() {
        for name in ["../run", "/run", "a/../../b", "./run", ""] {
            let text = format!("zonebench 1\nruntime run\n{FILE}\n{}\n", FILE.replace(" run", &format!(" {name}")));
            assert!(refused(&text).contains("cannot read"), "{name}");
        }
    }

    #[test]
    fn refuses_other_formats_modes_and_sizes() {
        assert!(refused("zonebench 2\n").contains("zonebench 2"));
        assert!(refused("zonebench 1\nruntime run\n").contains("no file"));
        assert!(refused(&format!("zonebench 1\nruntime run\n{}\n", FILE.replace("755", "4755"))).contains("4755"));
        assert!(
            refused(&format!("zonebench 1\nruntime run\n{}\n", FILE.replace(" 3 ", " 4294967297 "))).contains("many")
        );
    }
}
