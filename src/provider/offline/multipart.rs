//! `multipart/form-data` with a file, which is all of it that uploads need.

use std::hash::{BuildHasher, RandomState};

/// A form: its content type and its bytes. Names and values are the program's own.
pub(super) fn form(
    fields: &[(&str, &str)],
    filename: &str,
    content_type: &str,
    file: &[u8],
) -> (String, Vec<u8>) {
    let boundary = boundary(file);
    let mut body = Vec::with_capacity(file.len() + 1024);
    let mut part = |head: &str, content: &[u8]| {
        let disposition = format!("--{boundary}\r\ncontent-disposition: form-data; {head}\r\n\r\n");
        body.extend_from_slice(disposition.as_bytes());
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    };
    for (name, value) in fields {
        part(&format!("name=\"{name}\""), value.as_bytes());
    }
    let head = format!("name=\"file\"; filename=\"{filename}\"\r\ncontent-type: {content_type}");
    part(&head, file);
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    (format!("multipart/form-data; boundary={boundary}"), body)
}

/// A line that is not in the file.
fn boundary(file: &[u8]) -> String {
    loop {
        let boundary = format!("batchgen-{:016x}", RandomState::new().hash_one(file.len()));
        if memchr::memmem::find(file, boundary.as_bytes()).is_none() {
            return boundary;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_has_its_fields_then_its_file_byte_for_byte() {
        let file = "{\"a\":\"\u{2028}\"}\n".as_bytes();
        let (content_type, body) =
            form(&[("purpose", "batch")], "n.jsonl", "application/jsonl", file);
        let boundary = content_type.strip_prefix("multipart/form-data; boundary=").unwrap();
        let expected = format!(
            "--{boundary}\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n\
             --{boundary}\r\ncontent-disposition: form-data; name=\"file\"; \
             filename=\"n.jsonl\"\r\ncontent-type: application/jsonl\r\n\r\n{}\r\n--{boundary}--\r\n",
            "{\"a\":\"\u{2028}\"}\n"
        );
        assert_eq!(String::from_utf8(body).unwrap(), expected);
    }
}
