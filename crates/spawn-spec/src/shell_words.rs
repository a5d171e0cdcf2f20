//! A reader of shell text that never runs it: words, command ends, comments.
//!
//! It knows quotes, comments, here-documents and `$(...)`, and expands nothing.
//! It is a guess at what a script uses, so where a shell would find a syntax
//! error, this reads on.

use std::ops::Range;

/// How deep `"$(... "$(...)" ...)"` is followed.
const MAX_DEPTH: usize = 8;

/// A piece of shell text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// A word without its quotes.
    Word {
        /// The text, nothing expanded.
        text: String,
        /// Whether any of it was in quotes.
        quoted: bool,
    },
    /// The end of a command: a new line, `;`, `|`, `&`, `(`, `)`.
    Break,
}

/// What [`read`] finds.
#[derive(Debug, Default)]
pub(crate) struct ShellText {
    /// The tokens in order; those of `$(...)` inside quotes come last.
    pub tokens: Vec<Token>,
    /// Where comments are, in bytes.
    pub comments: Vec<Range<usize>>,
}

/// Reads shell text; any text at all.
pub(crate) fn read(text: &str) -> ShellText {
    let mut out = ShellText::default();
    let mut nested = vec![(text, 0)];
    while let Some((text, depth)) = nested.pop() {
        let mut reader = Reader::new(text);
        reader.run();
        out.tokens.append(&mut reader.tokens);
        out.tokens.push(Token::Break);
        if depth == 0 {
            out.comments = reader.comments;
        }
        if depth < MAX_DEPTH {
            let inner = reader.substitutions.iter().rev();
            nested.extend(inner.map(|range| (&text[range.clone()], depth + 1)));
        }
    }
    out
}

/// Splits at everything that is no part of a plain path; for text of other
/// languages, here-documents and quoted strings.
pub(crate) fn loose_words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c.is_whitespace() || "'\"`()[]{}<>|&;,=:@#\\".contains(c))
        .filter(|word| !word.is_empty())
}

struct HereDoc {
    end: String,
    strip_tabs: bool,
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    word: Option<(String, bool)>,
    tokens: Vec<Token>,
    comments: Vec<Range<usize>>,
    /// Insides of `$(...)` and backticks within double quotes.
    substitutions: Vec<Range<usize>>,
    here_docs: Vec<HereDoc>,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            word: None,
            tokens: Vec::new(),
            comments: Vec::new(),
            substitutions: Vec::new(),
            here_docs: Vec::new(),
        }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Bytes up to `pattern`, or to the end of the text.
    fn until(&self, pattern: &str) -> usize {
        self.rest().find(pattern).unwrap_or(self.rest().len())
    }

    fn run(&mut self) {
        while let Some(c) = self.rest().chars().next() {
            match c {
                '\n' => {
                    self.end_command(1);
                    self.skip_here_docs();
                }
                ' ' | '\t' | '\r' => self.end_word(1),
                '#' if self.word.is_none() => {
                    let end = self.at + self.until("\n");
                    self.comments.push(self.at..end);
                    self.at = end;
                }
                '(' if self.rest().starts_with("((") => self.arithmetic(),
                ';' | '|' | '&' | '(' | ')' | '`' => self.end_command(1),
                '<' if self.rest().starts_with("<<<") => self.end_word(3),
                '<' if self.rest().starts_with("<<") => self.here_doc_start(),
                '<' | '>' => self.end_word(1),
                '\\' => {
                    self.at += 1;
                    match self.rest().chars().next() {
                        Some('\n') => self.at += 1,
                        Some(next) => self.push(next, false),
                        None => {}
                    }
                }
                '\'' => self.single_quoted(),
                '"' => self.double_quoted(),
                _ => self.push(c, false),
            }
        }
        self.end_word(0);
    }

    fn push(&mut self, c: char, quoted: bool) {
        let word = self.word.get_or_insert_default();
        word.0.push(c);
        word.1 |= quoted;
        self.at += c.len_utf8();
    }

    fn end_word(&mut self, skip: usize) {
        if let Some((text, quoted)) = self.word.take() {
            self.tokens.push(Token::Word { text, quoted });
        }
        self.at += skip;
    }

    fn end_command(&mut self, skip: usize) {
        self.end_word(skip);
        if self.tokens.last() != Some(&Token::Break) {
            self.tokens.push(Token::Break);
        }
    }

    /// `((...))`: a `<<` in it shifts, it starts no here-document.
    fn arithmetic(&mut self) {
        self.end_command(2);
        let end = self.at + self.until("))");
        let words = loose_words(&self.text[self.at..end]).map(quoted_word);
        self.tokens.extend(words);
        self.at = (end + 2).min(self.text.len());
        self.end_command(0);
    }

    fn single_quoted(&mut self) {
        let start = self.at + 1;
        let end = self.text[start..]
            .find('\'')
            .map_or(self.text.len(), |found| start + found);
        let word = self.word.get_or_insert_default();
        word.0.push_str(&self.text[start..end]);
        word.1 = true;
        self.at = (end + 1).min(self.text.len());
    }

    fn double_quoted(&mut self) {
        self.word.get_or_insert_default().1 = true;
        self.at += 1;
        while let Some(c) = self.rest().chars().next() {
            match c {
                '"' => {
                    self.at += 1;
                    return;
                }
                '\\' => {
                    self.at += 1;
                    if let Some(next) = self.rest().chars().next() {
                        self.push(next, true);
                    }
                }
                '$' if self.rest().starts_with("$(") && !self.rest().starts_with("$((") => {
                    let start = self.at + 2;
                    self.substitution(start, closing_paren(self.text, start));
                }
                '`' => {
                    let start = self.at + 1;
                    let end = self.text[start..].find('`');
                    self.substitution(start, end.map_or(self.text.len(), |end| start + end));
                }
                _ => self.push(c, true),
            }
        }
    }

    fn substitution(&mut self, start: usize, end: usize) {
        self.substitutions.push(start..end);
        // Its place in the word is taken by what no file is called.
        self.word.get_or_insert_default().0.push_str("$()");
        self.at = (end + 1).min(self.text.len());
    }

    /// Remembers `<<END`, `<<-END` and `<<'END'`; the body starts on the next line.
    fn here_doc_start(&mut self) {
        self.end_word(2);
        let strip_tabs = self.rest().starts_with('-');
        self.at += usize::from(strip_tabs);
        let line = &self.rest()[..self.until("\n")];
        let word = line.trim_start_matches([' ', '\t']);
        let skipped = line.len() - word.len();
        let stop = word.find([' ', '\t', ';', '|', '&', '<', '>', ')']);
        let word = &word[..stop.unwrap_or(word.len())];
        self.at += skipped + word.len();
        let end = word.replace(['\'', '"', '\\'], "");
        if !end.is_empty() {
            self.here_docs.push(HereDoc { end, strip_tabs });
        }
    }

    fn skip_here_docs(&mut self) {
        for HereDoc { end, strip_tabs } in std::mem::take(&mut self.here_docs) {
            while self.at < self.text.len() {
                let line = &self.rest()[..self.until("\n")];
                self.at = (self.at + line.len() + 1).min(self.text.len());
                let bare = if strip_tabs {
                    line.trim_start_matches('\t')
                } else {
                    line
                };
                if bare == end {
                    break;
                }
                self.tokens.extend(loose_words(line).map(quoted_word));
            }
            self.tokens.push(Token::Break);
        }
    }
}

fn quoted_word(text: &str) -> Token {
    Token::Word {
        text: text.to_owned(),
        quoted: true,
    }
}

/// Where the `)` is that closes what `start` is inside of, or the end.
fn closing_paren(text: &str, start: usize) -> usize {
    let bytes = text.as_bytes();
    let mut open = 1;
    let mut quote = None;
    let mut at = start;
    while at < bytes.len() {
        match (quote, bytes[at]) {
            (Some(b'\''), b'\\') => {}
            (_, b'\\') => at += 1,
            (None, b @ (b'\'' | b'"')) => quote = Some(b),
            (Some(b), found) if b == found => quote = None,
            (None, b'(') => open += 1,
            (None, b')') => {
                open -= 1;
                if open == 0 {
                    return at;
                }
            }
            _ => {}
        }
        at += 1;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(text: &str) -> Vec<String> {
        read(text)
            .tokens
            .into_iter()
            .filter_map(|token| match token {
                Token::Word { text, .. } => Some(text),
                Token::Break => None,
            })
            .collect()
    }

    #[test]
    fn words_lose_their_quotes() {
        for (text, expected) in [
            (
                "python process.py /tmp/a",
                &["python", "process.py", "/tmp/a"][..],
            ),
            ("a 'b c' \"d e\" f\\ g", &["a", "b c", "d e", "f g"]),
            ("a'b'\"c\"", &["abc"]),
            ("a # b c\nd#e", &["a", "d#e"]),
            ("a;b|c&&d>e<f", &["a", "b", "c", "d", "e", "f"]),
            ("a \\\n b", &["a", "b"]),
            ("x=$(cat in.txt)", &["x=$", "cat", "in.txt"]),
            ("x=\"$(cat 'in.txt')\"", &["x=$()", "cat", "in.txt"]),
            ("\"$(a \"$(b c)\")\"", &["$()", "a", "$()", "b", "c"]),
            ("\"`cat in.txt`\" y", &["$()", "y", "cat", "in.txt"]),
            (
                "echo $((1 << 4))\ncat f",
                &["echo", "$", "1", "4", "cat", "f"],
            ),
            (
                "cat <<'EOF' | wc\nopen('in.csv')\nEOF\nls g",
                &["cat", "wc", "open", "in.csv", "ls", "g"],
            ),
            ("cat <<-EOF\n\tdon't\n\tEOF\nls", &["cat", "don", "t", "ls"]),
            ("cat <<< word", &["cat", "word"]),
            ("'open", &["open"]),
            ("\"open", &["open"]),
            ("\"$(open", &["$()", "open"]),
            ("a\\", &["a"]),
            ("", &[]),
        ] {
            assert_eq!(words(text), expected, "{text}");
        }
    }

    #[test]
    fn comments_are_found_where_a_shell_sees_them() {
        let text = "#!/bin/sh\necho '# no' \"# no\" x#no # yes\n";
        let found: Vec<&str> = read(text)
            .comments
            .iter()
            .map(|r| &text[r.clone()])
            .collect();
        assert_eq!(found, ["#!/bin/sh", "# yes"]);
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in any::<String>()) {
            read(&text);
        }

        #[test]
        fn any_shell_like_text_is_read(text in "[ab #'\"$(){}`<\\n\\\\é-]{0,60}") {
            read(&text);
            loose_words(&text).count();
        }
    }
}
