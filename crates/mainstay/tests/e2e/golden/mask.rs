//! What kubectl printed in, the same without what differs between two runs out: ages, times, uids, revisions, addresses
//! that were handed out, random ends of names. Columns are told apart by two spaces, whatever their width was.

/// Masks a whole output.
pub(crate) fn mask(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    for line in text.lines() {
        masked.push_str(&mask_line(line));
        masked.push('\n');
    }
    masked
}

fn mask_line(line: &str) -> String {
    let indent = line.len() - line.trim_start().len();
    let body: String = words(&line[indent..]).into_iter().map(|word| mask_word(&word)).collect();
    let body = squeeze(body.trim_end());
    let masked = format!("{}{body}", &line[..indent]);
    [
        "CreationTimestamp:  ",
        "Created on:  ",
        "uid: ",
        "resourceVersion: ",
        "\"uid\": ",
        "\"resourceVersion\": ",
        "Resource Version:  ",
    ]
    .iter()
    .find_map(|key| masked.find(key).map(|at| format!("{}{key}<masked>", &masked[..at])))
    .unwrap_or(masked)
}

/// A line cut into words and what is between them, so that joining them gives the line again.
fn words(line: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut in_word = false;
    for character in line.chars() {
        let part = character.is_ascii_alphanumeric() || "-.:_".contains(character);
        if part != in_word || words.is_empty() {
            words.push(String::new());
        }
        in_word = part;
        if let Some(last) = words.last_mut() {
            last.push(character);
        }
    }
    words
}

fn mask_word(word: &str) -> String {
    if is_age(word) {
        return "<age>".to_owned();
    }
    if is_time(word) {
        return "<time>".to_owned();
    }
    if word.starts_with("127.0.0.1:") || word.starts_with("192.0.2.1:") {
        return "<server>".to_owned();
    }
    for prefix in ["10.96.", "10.244."] {
        if let Some(rest) = word.strip_prefix(prefix) {
            return mask_address(prefix, rest, word);
        }
    }
    match word.split_once(':') {
        Some((port, node_port)) if is_node_port(node_port) => format!("{port}:<port>"),
        _ => mask_name(word),
    }
}

/// A node port of the dynamic band.
fn is_node_port(text: &str) -> bool {
    text.len() == 5 && text.parse::<u32>().is_ok_and(|port| (30_086..=32_767).contains(&port))
}

/// `10.96.0.1` and `.10` are fixed; all others are handed out.
fn mask_address(prefix: &str, rest: &str, word: &str) -> String {
    let port = rest.split_once(':').map_or(String::new(), |(_, port)| format!(":{port}"));
    let address = rest.split(':').next().unwrap_or(rest);
    let fixed = ["0.1", "0.0", "0.10", "77.77"].contains(&address);
    if fixed { word.to_owned() } else { format!("{prefix}x.x{port}") }
}

/// Ages such as `5s`, `2m3s`, `3d4h`.
fn is_age(word: &str) -> bool {
    let mut digits = 0;
    for character in word.chars() {
        match character {
            '0'..='9' => digits += 1,
            's' | 'm' | 'h' | 'd' if digits > 0 => digits = 0,
            _ => return false,
        }
    }
    digits == 0 && word.len() > 1
}

/// RFC 3339 times.
fn is_time(word: &str) -> bool {
    let bytes = word.as_bytes();
    bytes.len() >= 20 && bytes[4] == b'-' && bytes[10] == b'T' && bytes[13] == b':'
}

/// Random ends of names (in the alphabet that Kubernetes uses), uids, and node ports that were handed out.
fn mask_name(word: &str) -> String {
    let random = |part: &str| part.chars().all(|c| "bcdfghjklmnpqrstvwxz2456789".contains(c));
    let parts: Vec<&str> = word.split('-').collect();
    if parts.len() == 5 && parts[0].len() == 8 && word.len() == 36 {
        return "<uid>".to_owned();
    }
    let masked: Vec<&str> = parts
        .iter()
        .enumerate()
        .map(|(index, part)| match part.len() {
            5 | 8..=10 if index > 0 && random(part) => "<x>",
            _ => part,
        })
        .collect();
    let joined = masked.join("-");
    if is_node_port(&joined) {
        return "<port>".to_owned();
    }
    if parts.len() == 1 && (8..=10).contains(&word.len()) && random(word) && word.contains(|c: char| c.is_ascii_digit())
    {
        return "<x>".to_owned();
    }
    joined
}

/// Columns are two or more spaces apart: the widths follow from the longest cell, which may be a masked one.
fn squeeze(line: &str) -> String {
    let mut squeezed = String::with_capacity(line.len());
    let mut spaces = 0;
    for character in line.chars() {
        spaces = if character == ' ' { spaces + 1 } else { 0 };
        if spaces <= 2 {
            squeezed.push(character);
        }
    }
    squeezed
}
