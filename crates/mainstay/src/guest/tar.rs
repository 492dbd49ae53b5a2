//! `tar` as `kubectl cp` calls it: files and directories in, an archive on standard output out, and back.
//!
//! Owners are not kept: the only user of a sandbox is its own root.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Component, Path, PathBuf};

use tar::{Archive, Builder, Header};

use super::host_program;

/// What is asked for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    create: bool,
    extract: bool,
    file: Option<String>,
    directory: PathBuf,
    now: bool,
    masked: bool,
    verbose: bool,
    paths: Vec<String>,
}

/// Plays `tar`; options that are not ours go to the host's.
pub(super) fn run(arguments: &[String]) -> i32 {
    let asked = match parse(arguments) {
        Ok(asked) => asked,
        Err(option) => return host_program("tar", arguments, &option),
    };
    let done = if asked.create { create(&asked) } else { extract(&asked) };
    done.unwrap_or_else(|error| {
        eprintln!("tar: {error}");
        2
    })
}

/// The options; the first that is not ours otherwise.
fn parse(arguments: &[String]) -> Result<Asked, String> {
    let mut asked = Asked { directory: PathBuf::from("."), ..Asked::default() };
    let mut rest = arguments.iter();
    let mut first = true;
    while let Some(argument) = rest.next() {
        let bundle = argument.strip_prefix('-').filter(|letters| !letters.is_empty());
        match argument.as_str() {
            "--no-same-owner" => {}
            "--no-same-permissions" => asked.masked = true,
            "--" => asked.paths.extend(rest.by_ref().cloned()),
            long if long.starts_with("--") => return Err(long.to_owned()),
            letters if first || bundle.is_some() => {
                for letter in bundle.unwrap_or(letters).chars() {
                    match letter {
                        'c' => asked.create = true,
                        'x' => asked.extract = true,
                        'm' => asked.now = true,
                        'p' => asked.masked = false,
                        'o' => {}
                        'v' => asked.verbose = true,
                        'f' => asked.file = Some(rest.next().ok_or("-f")?.clone()),
                        'C' => asked.directory = rest.next().ok_or("-C")?.into(),
                        other => return Err(format!("-{other}")),
                    }
                }
            }
            path => asked.paths.push(path.to_owned()),
        }
        first = false;
    }
    match (asked.create, asked.extract) {
        (true, false) if !asked.paths.is_empty() => Ok(asked),
        // Some members of an archive only: seldom asked for, and not by kubectl.
        (false, true) if asked.paths.is_empty() => Ok(asked),
        _ => Err(arguments.first().cloned().unwrap_or_default()),
    }
}

fn create(asked: &Asked) -> io::Result<i32> {
    let out: Box<dyn Write> = match asked.file.as_deref() {
        None | Some("-") => Box::new(io::stdout().lock()),
        Some(path) => Box::new(File::create(path).map_err(|error| named(Path::new(path), &error))?),
    };
    let mut packer = Packer { builder: Builder::new(BufWriter::new(out)), code: 0, verbose: asked.verbose };
    for path in &asked.paths {
        packer.add(&asked.directory.join(path), &member_name(Path::new(path)))?;
    }
    packer.builder.into_inner()?.flush()?;
    Ok(packer.code)
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// The name of a member: never absolute, never upwards.
fn member_name(path: &Path) -> PathBuf {
    let mut name = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => name.push(part),
            Component::ParentDir => name.clear(),
            _ => {}
        }
    }
    if name.as_os_str().is_empty() { PathBuf::from(".") } else { name }
}

/// Puts files into an archive; what cannot be read is told and left out.
struct Packer<W: Write> {
    builder: Builder<W>,
    code: i32,
    verbose: bool,
}

impl<W: Write> Packer<W> {
    /// Adds a file, a link or a directory with everything below it. An error is one of the archive itself.
    fn add(&mut self, path: &Path, name: &Path) -> io::Result<()> {
        let metadata = match fs::symlink_metadata(path) {
            Ok(metadata) => metadata,
            Err(error) => return self.skip(path, &error),
        };
        if self.verbose {
            eprintln!("{}", name.display());
        }
        let mut header = Header::new_gnu();
        header.set_metadata(&metadata);
        if metadata.is_symlink() {
            return match fs::read_link(path) {
                Ok(target) => self.builder.append_link(&mut header, name, target),
                Err(error) => self.skip(path, &error),
            };
        }
        if metadata.is_file() {
            return match File::open(path) {
                Ok(file) => {
                    // The header has told a size: a file that grows or shrinks meanwhile is cut or filled up.
                    let data = file.take(metadata.len()).chain(io::repeat(0)).take(metadata.len());
                    self.builder.append_data(&mut header, name, data)
                }
                Err(error) => self.skip(path, &error),
            };
        }
        if !metadata.is_dir() {
            return self.skip(path, &"neither a file, a directory nor a link: left out");
        }
        self.builder.append_data(&mut header, name, io::empty())?;
        let mut entries = match fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
            Ok(entries) => entries,
            Err(error) => return self.skip(path, &error),
        };
        entries.sort_by_key(fs::DirEntry::file_name);
        entries.iter().try_for_each(|entry| self.add(&entry.path(), &name.join(entry.file_name())))
    }

    /// Leaves something out: no error of the archive.
    fn skip(&mut self, path: &Path, why: &dyn std::fmt::Display) -> io::Result<()> {
        eprintln!("tar: {}: {why}", path.display());
        self.code = 2;
        Ok(())
    }
}

fn extract(asked: &Asked) -> io::Result<i32> {
    let input: Box<dyn Read> = match asked.file.as_deref() {
        None | Some("-") => Box::new(io::stdin().lock()),
        Some(path) => Box::new(File::open(path).map_err(|error| named(Path::new(path), &error))?),
    };
    unpack(input, asked)
}

/// Unpacks below the directory; members that would end up elsewhere, by their name or through a link, are refused.
fn unpack(input: impl Read, asked: &Asked) -> io::Result<i32> {
    if !asked.directory.is_dir() {
        return Err(io::Error::other(format!("{}: is not a directory", asked.directory.display())));
    }
    let mut archive = Archive::new(BufReader::new(input));
    archive.set_preserve_mtime(!asked.now);
    archive.set_preserve_permissions(!asked.masked);
    archive.set_preserve_ownerships(false);
    let mut code = 0;
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = entry.path()?.into_owned();
        if asked.verbose {
            println!("{}", name.display());
        }
        let why = match entry.unpack_in(&asked.directory) {
            Ok(true) => continue,
            Ok(false) => "the name leads out of the directory: refused".to_owned(),
            Err(error) => error.to_string(),
        };
        eprintln!("tar: {}: {why}", name.display());
        code = 2;
    }
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Asked, String> {
        parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn the_ways_in_which_kubectl_calls_it() {
        let create = parsed("cf - /tmp/some").unwrap();
        assert_eq!(
            (create.create, create.file.as_deref(), &create.paths[..]),
            (true, Some("-"), &["/tmp/some".into()][..])
        );
        let extract = parsed("--no-same-permissions --no-same-owner -xmf - -C /tmp").unwrap();
        assert!(extract.extract && extract.now && extract.masked && extract.directory == Path::new("/tmp"));
        for theirs in ["czf - /tmp", "tf x.tar", "--exclude=x -cf - .", "", "c", "xf - one", "-xf"] {
            assert!(parsed(theirs).is_err(), "{theirs}");
        }
    }

    #[test]
    fn names_never_lead_upwards() {
        for (path, name) in
            [("/tmp/a", "tmp/a"), ("../../a", "a"), ("a/../b", "b"), ("./a", "a"), ("/", "."), ("..", ".")]
        {
            assert_eq!(member_name(Path::new(path)), Path::new(name), "{path}");
        }
    }

    #[test]
    fn a_directory_makes_the_round_trip() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let deep = from.path().join(
            "top/a directory with a name that is longer than the hundred bytes that the oldest \
                                     archives have room for/é",
        );
        fs::create_dir_all(&deep).unwrap();
        let bytes: Vec<u8> = (0..100_000u32).map(|index| index as u8).collect();
        fs::write(deep.join("data"), &bytes).unwrap();
        fs::write(from.path().join("top/empty"), "").unwrap();
        std::os::unix::fs::symlink("empty", from.path().join("top/link")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(from.path().join("top/socket")).unwrap();
        let mut packer = Packer { builder: Builder::new(Vec::new()), code: 0, verbose: false };
        packer.add(&from.path().join("top"), Path::new("top")).unwrap();
        assert_eq!(packer.code, 2, "the socket is told of");
        let archive = packer.builder.into_inner().unwrap();
        let asked = Asked { directory: to.path().to_owned(), ..Asked::default() };
        assert_eq!(unpack(&archive[..], &asked).unwrap(), 0);
        let there = to.path().join(deep.strip_prefix(from.path()).unwrap());
        assert_eq!(fs::read(there.join("data")).unwrap(), bytes);
        assert_eq!(fs::read_link(to.path().join("top/link")).unwrap(), Path::new("empty"));
        assert!(!to.path().join("top/socket").exists());
    }

    #[test]
    fn nothing_is_written_outside() {
        let (home, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut builder = Builder::new(Vec::new());
        let mut header = Header::new_gnu();
        header.set_size(4);
        header.set_mode(0o644);
        // The library refuses to write such names, as it should; an attacker's does not.
        header.as_gnu_mut().unwrap().name[..6].copy_from_slice(b"../bad");
        header.set_cksum();
        builder.append(&header, &b"evil"[..]).unwrap();
        let mut link = Header::new_gnu();
        link.set_entry_type(tar::EntryType::Symlink);
        link.set_size(0);
        builder.append_link(&mut link, "door", outside.path()).unwrap();
        let mut through = Header::new_gnu();
        through.set_size(4);
        through.set_mode(0o644);
        builder.append_data(&mut through, "door/bad", &b"evil"[..]).unwrap();
        let archive = builder.into_inner().unwrap();
        let inside = home.path().join("inside");
        fs::create_dir(&inside).unwrap();
        let asked = Asked { directory: inside, ..Asked::default() };
        assert_eq!(unpack(&archive[..], &asked).unwrap(), 2);
        assert!(!home.path().join("bad").exists() && !outside.path().join("bad").exists());
        let nowhere = Asked { directory: home.path().join("nowhere"), ..Asked::default() };
        assert!(unpack(&archive[..], &nowhere).unwrap_err().to_string().contains("is not a directory"));
    }
}
