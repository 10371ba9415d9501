//! Customers as comma-separated values by RFC 4180: a field in quotation marks may hold commas, line breaks and, doubled, quotation
//! marks. Stricter than most readers, because a wrong password is expensive. Pure.

/// The first line.
const HEADER: [&str; 4] = ["customer_id", "tb_username", "tb_password", "tb_url"];

/// The number of a line, and what is wrong with it. Never a piece of it: that may be a password.
type CsvError = (usize, &'static str);

/// The fields of each record after the header, with the line that it begins in. Empty lines are left out.
pub(super) fn rows(text: &str) -> Result<Vec<(usize, [String; 4])>, CsvError> {
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut records = Vec::new();
    let mut next_line = 1;
    while !rest.is_empty() {
        let (line, before) = (next_line, rest);
        let wrong = |why| (line, why);
        let fields = record(&mut rest).map_err(wrong)?;
        next_line += before[..before.len() - rest.len()].matches('\n').count();
        if fields == [""] {
            continue;
        }
        let fields = fields.try_into().map_err(|_| {
            wrong("not four fields with commas between: customer_id,tb_username,tb_password,tb_url")
        })?;
        records.push((line, fields));
    }
    match records.split_first() {
        Some(((_, header), _)) if *header == HEADER => Ok(records.split_off(1)),
        _ => Err((1, "not the header: customer_id,tb_username,tb_password,tb_url")),
    }
}

const QUOTES: &str = "a field that holds quotation marks or line breaks must stand in quotation marks, with each of its own doubled";

/// The fields up to the end of the line, which is taken off as well.
fn record(rest: &mut &str) -> Result<Vec<String>, &'static str> {
    let mut fields = Vec::new();
    loop {
        fields.push(match rest.strip_prefix('"') {
            Some(quoted) => {
                *rest = quoted;
                self::quoted(rest)?
            }
            None => {
                let (field, after) = rest.split_at(rest.find([',', '\r', '\n']).unwrap_or(rest.len()));
                *rest = after;
                if field.contains('"') {
                    return Err(QUOTES);
                }
                field.to_owned()
            }
        });
        if fields.last().is_some_and(|field| field.contains('\0')) {
            return Err("a field holds the character NUL");
        }
        match rest.strip_prefix(',') {
            Some(after) => *rest = after,
            None => break,
        }
    }
    let end = ["\r\n", "\n"].iter().find_map(|end| rest.strip_prefix(end));
    *rest = end.or_else(|| rest.is_empty().then_some("")).ok_or(QUOTES)?;
    Ok(fields)
}

/// A field up to its closing quotation mark, which is taken off as well.
fn quoted(rest: &mut &str) -> Result<String, &'static str> {
    let mut field = String::new();
    loop {
        let (piece, after) = rest.split_once('"').ok_or("a quotation mark is not closed")?;
        field.push_str(piece);
        match after.strip_prefix('"') {
            Some(after) => {
                field.push('"');
                *rest = after;
            }
            None => {
                *rest = after;
                return Ok(field);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "customer_id,tb_username,tb_password,tb_url";

    fn read(lines: &str) -> Result<Vec<(usize, [String; 4])>, CsvError> {
        rows(&format!("{HEAD}\n{lines}"))
    }

    fn row(line: usize, fields: [&str; 4]) -> (usize, [String; 4]) {
        (line, fields.map(str::to_owned))
    }

    #[test]
    fn fields_are_taken_to_the_letter() {
        let lines = "a,u,p,https://a\r\n\r\n\"b,1\",\"u\"\"x\",\"two\nlines\", https://b \nc,,\"\",\n";
        let wanted = [
            row(2, ["a", "u", "p", "https://a"]),
            row(4, ["b,1", "u\"x", "two\nlines", " https://b "]),
            row(6, ["c", "", "", ""]),
        ];
        assert_eq!(read(lines).unwrap(), wanted);
        assert_eq!(
            rows(&format!("\u{feff}{HEAD}\r\n\"a\",u,p,\"x\"")).unwrap(),
            [row(2, ["a", "u", "p", "x"])]
        );
        assert_eq!(read("").unwrap(), []);
    }

    #[test]
    fn what_is_wrong_is_told_by_its_line_without_its_text() {
        for (lines, line, why) in [
            ("a,u,p,x\nb,u,p\n", 3, "not four fields"),
            ("a,u,p,x,y", 2, "not four fields"),
            ("a;u;p;x", 2, "not four fields"),
            ("a,u,\"p,x\n\nb,u,p,x\n", 2, "not closed"),
            ("a,u,\"p\"q,x", 2, "must stand"),
            ("a,u,p\"q,x", 2, "doubled"),
            ("a,u,p,x\rb,u,p,x", 2, "must stand"),
            ("a,u,p\0,x", 2, "NUL"),
        ] {
            let (wrong_line, found) = read(lines).unwrap_err();
            assert!(wrong_line == line && found.contains(why), "{lines:?}: {found}");
        }
        for text in ["", "customer_id;tb_username;tb_password;tb_url\n", "a,u,p,https://a\n"] {
            assert_eq!(rows(text).unwrap_err().0, 1, "{text:?}");
        }
    }
}
