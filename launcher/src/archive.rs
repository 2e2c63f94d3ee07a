//! The program that is appended to the launcher. After the ELF image, whose own headers say how long it is, come
//!
//! | bytes | what                                     |
//! | ----- | ---------------------------------------- |
//! | 16    | magic                                    |
//! | 8     | length of the whole file, little endian  |
//! | 8     | length of the index, little endian       |
//! | 32    | SHA-256 of the index                     |
//! | 32    | SHA-256 of the 64 bytes before           |
//! |       | the index                                |
//! |       | the contents of its files, one zstd frame |

use crate::failure::{Failure, plain};
use crate::index::{Index, hex};
use ruzstd::decoding::StreamingDecoder;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

const MAGIC: &[u8; 16] = b"zonebench-file 1";
const HEADER: usize = 96;
const MOST_INDEX: u64 = 1 << 20;

pub struct Archive {
    file: File,
    path: PathBuf,
    /// Where the contents begin.
    contents: u64,
    /// Names this program among all: the same files and the same start give the same text.
    pub id: String,
    pub index: Index,
}

impl Archive {
    /// Reads what is appended to this very program.
    pub fn open() -> Result<Self, Failure> {
        let path = std::env::current_exe().map_err(|error| {
            Failure::File(format!("cannot tell where this program is (is /proc there?): {}", plain(&error)))
        })?;
        let read = |error: io::Error| Failure::File(format!("cannot read {}: {}", path.display(), plain(&error)));
        let damaged = |what: &str| Failure::File(format!("{} is damaged ({what}): copy it again", path.display()));
        // Not by its name, which may be another file's by now.
        let file = File::open("/proc/self/exe").map_err(read)?;
        let length = file.metadata().map_err(read)?.len();
        let image = image_length(&file).map_err(read)?.ok_or_else(|| damaged("no ELF header"))?;

        let mut header = [0; HEADER];
        if length < image + HEADER as u64 {
            return Err(Failure::File(format!(
                "{} is only the beginning of the program: {length} bytes: copy it again",
                path.display()
            )));
        }
        file.read_exact_at(&mut header, image).map_err(read)?;
        if header[..16] != *MAGIC || Sha256::digest(&header[..64])[..] != header[64..] {
            return Err(damaged("its header"));
        }
        let number = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("eight bytes"));
        let (whole, index_length) = (number(16), number(24));
        if length < whole {
            return Err(Failure::File(format!(
                "{} is incomplete: it has {length} of {whole} bytes: copy it again",
                path.display()
            )));
        }
        if length > whole || index_length > MOST_INDEX {
            return Err(damaged(&format!("expected {whole} bytes, it has {length}")));
        }
        let mut index = vec![0; usize::try_from(index_length).expect("checked above")];
        file.read_exact_at(&mut index, image + HEADER as u64).map_err(read)?;
        let digest = Sha256::digest(&index);
        if digest[..] != header[32..64] {
            return Err(damaged("its index"));
        }
        let text = str::from_utf8(&index).map_err(|_| damaged("its index"))?;
        let parsed = Index::parse(text).map_err(|what| damaged(&format!("its index: {what}")))?;
        let contents = image + HEADER as u64 + index_length;
        Ok(Self { file, path, contents, id: hex(&digest[..16]), index: parsed })
    }

    /// Gives the contents of each file to what `open` makes for it, checked against the index.
    /// `finish` gets what `open` made once all of it is written and found to be right.
    pub fn unpack<W: Write>(
        &self,
        mut open: impl FnMut(&crate::index::Entry) -> Result<W, Failure>,
        mut finish: impl FnMut(&crate::index::Entry, W) -> Result<(), Failure>,
        failed: impl Fn(&crate::index::Entry, &io::Error) -> Failure,
    ) -> Result<(), Failure> {
        let damaged = |what: &str| Failure::File(format!("{} is damaged ({what}): copy it again", self.path.display()));
        let mut source = BufReader::with_capacity(1 << 17, &self.file);
        source
            .seek(SeekFrom::Start(self.contents))
            .map_err(|error| Failure::File(format!("cannot read {}: {}", self.path.display(), plain(&error))))?;
        let mut contents = StreamingDecoder::new(source).map_err(|_| damaged("its contents"))?;
        let mut buffer = vec![0; 1 << 17];
        for entry in &self.index.files {
            let mut output = open(entry)?;
            let mut digest = Sha256::new();
            let mut left = entry.size;
            while left > 0 {
                let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                let got = contents.read(&mut buffer[..most]).map_err(|_| damaged(&entry.name))?;
                if got == 0 {
                    return Err(damaged(&format!("{} ends early", entry.name)));
                }
                digest.update(&buffer[..got]);
                output.write_all(&buffer[..got]).map_err(|error| failed(entry, &error))?;
                left -= got as u64;
            }
            if digest.finalize()[..] != entry.sha256 {
                return Err(damaged(&format!("SHA-256 of {}", entry.name)));
            }
            finish(entry, output)?;
        }
        Ok(())
    }
}

/// How long the ELF image is: the table of section headers is its last part. `None` where there is no such header.
fn image_length(file: &File) -> io::Result<Option<u64>> {
    let mut header = [0; 64];
    file.read_exact_at(&mut header, 0)?;
    // 64 bits, little endian (ELF-64, figure 2 and 4).
    if header[..6] != *b"\x7fELF\x02\x01" {
        return Ok(None);
    }
    let table = u64::from_le_bytes(header[0x28..0x30].try_into().expect("eight bytes"));
    let field = |at: usize| u64::from(u16::from_le_bytes([header[at], header[at + 1]]));
    Ok(table.checked_add(field(0x3a) * field(0x3c)))
}
