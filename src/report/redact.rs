//! Takes user names, passwords and queries out of addresses: keys are written there.

/// The text with every address in it cut down to scheme, host and path.
pub(super) fn addresses(text: &str) -> String {
    let mut pieces = text.split("://");
    let mut clean = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        clean.push_str("://");
        let end = piece.find(ends_address).unwrap_or(piece.len());
        let (address, rest) = piece.split_at(end);
        clean.push_str(&without_secrets(address));
        clean.push_str(rest);
    }
    clean
}

fn ends_address(c: char) -> bool {
    c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | '`')
}

/// An address after its scheme, without what stands before `@` and after `?` or `#`.
fn without_secrets(address: &str) -> String {
    let whole = address;
    let address = address.split(['?', '#']).next().unwrap_or_default();
    let host_end = address.find('/').unwrap_or(address.len());
    let (host, path) = address.split_at(host_end);
    // a password with a slash or a question mark in it: keep only what follows the last @
    if let Some((_, host)) = whole.rsplit_once('@').filter(|_| !host.contains('@')) {
        return host.split(['?', '#']).next().unwrap_or_default().to_owned();
    }
    format!("{}{path}", host.rsplit_once('@').map_or(host, |(_, host)| host))
}

#[cfg(test)]
mod tests {
    use super::addresses;

    #[test]
    fn addresses_lose_user_names_passwords_and_queries() {
        for (text, clean) in [
            ("http://127.0.0.1:8080/v1", "http://127.0.0.1:8080/v1"),
            ("https://me:s3cret@host:8/v1?key=s3cret#x", "https://host:8/v1"),
            ("https://me:s3/cr@et@host/v1", "https://host/v1"),
            ("https://me:s?3cret@host/v1", "https://host/v1"),
            ("run --base-url 'https://k@h/v1' --raw", "run --base-url 'https://h/v1' --raw"),
            ("no address, a@b", "no address, a@b"),
        ] {
            assert_eq!(addresses(text), clean);
        }
    }
}
