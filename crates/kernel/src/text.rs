//! The program's own text in; its pages given back to the page cache out.
//!
//! The kernel maps a program's file in blocks around each page that is touched, and what only the start needed stays mapped.
//! Given back, a page comes again at its next use, mostly from the page cache: a minor fault for 64 KiB (mm/memory.c,
//! `do_fault_around`).

use std::fs;
use std::io;
use std::ops::Range;

/// Unmaps the pages of this program's text and constants from this process; how many bytes of addresses that were.
/// Pages that were written to (relocated tables) are never touched.
pub fn release() -> io::Result<usize> {
    let maps = fs::read_to_string("/proc/self/smaps")?;
    let mut bytes = 0;
    for range in clean(&maps, release as fn() -> io::Result<usize> as usize) {
        let length = range.len();
        // SAFETY: the mapping is private, backed by a file and unwritten, so the kernel brings the same bytes back at the
        // next access; nobody else unmaps the program's text while it runs.
        if unsafe { libc::madvise(range.start as *mut libc::c_void, length, libc::MADV_DONTNEED) } != 0 {
            return Err(io::Error::last_os_error());
        }
        bytes += length;
    }
    Ok(bytes)
}

/// The mappings of the file that holds the code at `inside` which can be neither written nor have been written to.
fn clean(maps: &str, inside: usize) -> Vec<Range<usize>> {
    let mut mappings: Vec<(Mapping<'_>, bool)> = Vec::new();
    for line in maps.lines() {
        if let Some(mapping) = Mapping::parse(line) {
            mappings.push((mapping, true));
        } else if let Some((_, unwritten)) = mappings.last_mut()
            && let Some(copied) = line.strip_prefix("Anonymous:")
        {
            // "Private_Dirty" would count pages of a file that is not yet on disk, too.
            *unwritten = copied.split_whitespace().next() == Some("0");
        }
    }
    let Some(file) = mappings.iter().find(|(mapping, _)| mapping.range.contains(&inside)).map(|(found, _)| found.file)
    else {
        return Vec::new();
    };
    let ours =
        mappings.into_iter().filter(|(mapping, unwritten)| *unwritten && !mapping.writable && mapping.file == file);
    ours.map(|(mapping, _)| mapping.range).collect()
}

/// The first line of a mapping in /proc/PID/smaps (proc(5)).
struct Mapping<'a> {
    range: Range<usize>,
    writable: bool,
    /// Device and inode.
    file: (&'a str, &'a str),
}

impl<'a> Mapping<'a> {
    /// None for the other lines, and for memory that is no file.
    fn parse(line: &'a str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let (permissions, _offset, device, inode) = (words.next()?, words.next()?, words.next()?, words.next()?);
        let number = |text| usize::from_str_radix(text, 16).ok();
        let range = number(start)?..number(end)?;
        Some(Self { range, writable: permissions.contains('w'), file: (device, inode) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
1000-3000 r--p 00000000 fe:00 77 /usr/bin/mainstay
Rss:  8 kB
Private_Dirty:  8 kB
Anonymous:      0 kB
3000-9000 r-xp 00002000 fe:00 77 /usr/bin/mainstay
Private_Dirty:  0 kB
Anonymous:      0 kB
9000-a000 r--p 00008000 fe:00 77 /usr/bin/mainstay
Private_Dirty:  4 kB
Anonymous:      4 kB
a000-b000 rw-p 00009000 fe:00 77 /usr/bin/mainstay
Private_Dirty:  0 kB
b000-c000 r-xp 00000000 fe:00 78 /usr/lib/libc.so.6
Private_Dirty:  0 kB
c000-d000 rw-p 00000000 00:00 0
VmFlags: rd wr mr mw me ac
";

    #[test]
    fn only_unwritten_pages_of_the_program_itself_go() {
        assert_eq!(clean(MAPS, 0x3456), [0x1000..0x3000, 0x3000..0x9000]);
        assert_eq!(clean(MAPS, 0xffff), []);
        assert_eq!(clean("", 0x3456), []);
    }

    #[test]
    fn the_program_goes_on_without_its_pages() {
        let bytes = release().unwrap();
        assert!(bytes > 4096, "{bytes}");
        assert_eq!(release().unwrap(), bytes);
    }
}
