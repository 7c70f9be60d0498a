//! What an expression may cost, decided before the CEL parser sees it.
//!
//! The parser and the evaluator recurse once per bracket and once per operator
//! or selector of a chain, so both are counted here, on tokens, in one pass.
//! The same pass finds where an expression inside a longer text ends.

use super::ExprError;

/// The longest expression, in bytes.
pub const MAX_EXPRESSION_BYTES: usize = 2_048;
/// The deepest nesting of `(`, `[` and `{`.
pub const MAX_BRACKETS: usize = 16;
/// The most operators, selectors and brackets (`+`, `.`, `[`, …) in one expression:
/// each may cost 5 kB of stack where it is evaluated.
pub const MAX_OPERATORS: usize = 128;

/// One word of an expression, and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    pub(super) start: usize,
    pub(super) end: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind {
    Word,
    Number,
    Text,
    Open,
    Close,
    Operator,
    Comma,
}

/// Splits into tokens and holds the bounds; most typing mistakes end here, with a remedy.
pub(super) fn check(text: &str) -> Result<Vec<Token>, ExprError> {
    if text.len() > MAX_EXPRESSION_BYTES {
        return Err(ExprError::new(format!(
            "the expression has {} bytes; {MAX_EXPRESSION_BYTES} are the most",
            text.len()
        ))
        .at(0, 1)
        .help("let a task compute what needs that much text"));
    }
    let mut tokens = Vec::new();
    let mut open: Vec<(char, usize)> = Vec::new();
    let mut operators = 0;
    let mut at = 0;
    while let Some(token) = next(text, at)? {
        let word = &text[token.start..token.end];
        if matches!(token.kind, TokenKind::Open | TokenKind::Operator) {
            operators += 1;
            if operators > MAX_OPERATORS {
                return Err(ExprError::new(format!(
                    "more than {MAX_OPERATORS} operators and brackets"
                ))
                .at(token.start, token.end - token.start)
                .help("split the expression over two steps"));
            }
        }
        match token.kind {
            TokenKind::Open => {
                open.push((word.chars().next().unwrap_or('('), token.start));
                if open.len() > MAX_BRACKETS {
                    return Err(ExprError::new(format!(
                        "brackets nest deeper than {MAX_BRACKETS}"
                    ))
                    .at(token.start, 1)
                    .help("split the expression over two steps"));
                }
            }
            TokenKind::Close => {
                let expected = match open.pop() {
                    Some(('(', _)) => ")",
                    Some(('[', _)) => "]",
                    Some(_) => "}",
                    None => {
                        return Err(ExprError::new(format!("`{word}` closes nothing"))
                            .at(token.start, 1)
                            .help("remove it, or open it before"));
                    }
                };
                if word != expected {
                    return Err(
                        ExprError::new(format!("expected `{expected}`, got `{word}`"))
                            .at(token.start, 1)
                            .help("close brackets in the order they were opened"),
                    );
                }
            }
            TokenKind::Operator => {
                if word == "/" && text[token.end..].starts_with('/') {
                    return Err(ExprError::new("an expression holds no comments")
                        .at(token.start, 2)
                        .help("write the comment outside, after `#`"));
                }
                refuse_foreign(word, token)?;
            }
            TokenKind::Word => refuse_foreign_word(word, token)?,
            TokenKind::Number | TokenKind::Text | TokenKind::Comma => {}
        }
        tokens.push(token);
        at = token.end;
    }
    if let Some((bracket, start)) = open.pop() {
        return Err(ExprError::new(format!("`{bracket}` is never closed"))
            .at(start, 1)
            .help("close it"));
    }
    if tokens.is_empty() {
        return Err(
            ExprError::new("the expression is empty").help("write one, as in `inputs.prompt`")
        );
    }
    Ok(tokens)
}

/// Operators of other languages that CEL does not have.
fn refuse_foreign(word: &str, token: Token) -> Result<(), ExprError> {
    let right = match word {
        "=" => "==",
        "&" => "&&",
        "|" => "||",
        _ => return Ok(()),
    };
    Err(ExprError::new(format!("`{word}` is no operator"))
        .at(token.start, token.end - token.start)
        .help(format!("write `{right}`")))
}

fn refuse_foreign_word(word: &str, token: Token) -> Result<(), ExprError> {
    let right = match word {
        "and" => "&&",
        "or" => "||",
        "not" => "!",
        "True" => "true",
        "False" => "false",
        "None" | "nil" | "undefined" => "null",
        _ => return Ok(()),
    };
    Err(ExprError::new(format!("`{word}` is not known here"))
        .at(token.start, token.end - token.start)
        .help(format!("write `{right}`")))
}

/// The token at or after `at`, or nothing at the end.
fn next(text: &str, at: usize) -> Result<Option<Token>, ExprError> {
    let bytes = text.as_bytes();
    let mut start = at;
    while start < bytes.len() && bytes[start].is_ascii_whitespace() {
        start += 1;
    }
    let Some(&first) = bytes.get(start) else {
        return Ok(None);
    };
    let second = bytes.get(start + 1).copied().unwrap_or(0);
    let (kind, end) = match first {
        b'"' | b'\'' => (TokenKind::Text, text_end(text, start, start)?),
        b'r' | b'R' | b'b' | b'B' if matches!(second, b'"' | b'\'') => {
            (TokenKind::Text, text_end(text, start, start + 1)?)
        }
        b'a'..=b'z' | b'A'..=b'Z' | b'_' => (
            TokenKind::Word,
            run(bytes, start, |c| c.is_ascii_alphanumeric() || c == b'_'),
        ),
        b'0'..=b'9' => (TokenKind::Number, number_end(bytes, start)),
        b'(' | b'[' | b'{' => (TokenKind::Open, start + 1),
        b')' | b']' | b'}' => (TokenKind::Close, start + 1),
        b',' => (TokenKind::Comma, start + 1),
        b'&' | b'|' | b'=' if first == second => (TokenKind::Operator, start + 2),
        b'!' | b'<' | b'>' if second == b'=' => (TokenKind::Operator, start + 2),
        b'.' | b'+' | b'-' | b'*' | b'/' | b'%' | b'?' | b':' | b'!' | b'<' | b'>' | b'&'
        | b'|' | b'=' => (TokenKind::Operator, start + 1),
        _ => {
            let wrong = text[start..].chars().next().unwrap_or('\u{fffd}');
            let help = match wrong {
                '$' => "inside `${{ … }}` names stand alone: write `inputs.prompt`",
                '“' | '”' | '‘' | '’' | '`' => "quote text with \" or '",
                _ => "quote it, if it is meant as text",
            };
            return Err(ExprError::new(format!(
                "`{}` has no meaning in an expression",
                wrong.escape_debug()
            ))
            .at(start, wrong.len_utf8())
            .help(help));
        }
    };
    Ok(Some(Token { kind, start, end }))
}

fn run(bytes: &[u8], start: usize, belongs: impl Fn(u8) -> bool) -> usize {
    let rest = &bytes[start..];
    start + rest.iter().position(|&c| !belongs(c)).unwrap_or(rest.len())
}

/// Digits, a fraction, an exponent, a suffix; what is wrong inside, CEL says.
fn number_end(bytes: &[u8], start: usize) -> usize {
    let mut end = run(bytes, start, |c| c.is_ascii_alphanumeric());
    if bytes.get(end) == Some(&b'.') && bytes.get(end + 1).is_some_and(u8::is_ascii_digit) {
        end = run(bytes, end + 1, |c| c.is_ascii_alphanumeric());
    }
    let signed = matches!(bytes.get(end), Some(b'+' | b'-'))
        && matches!(bytes[end - 1], b'e' | b'E')
        && !bytes[start..end].starts_with(b"0x");
    if signed {
        end = run(bytes, end + 1, |c| c.is_ascii_digit());
    }
    end
}

/// The end of a string literal whose quote stands at `quote`.
fn text_end(text: &str, start: usize, quote: usize) -> Result<usize, ExprError> {
    let bytes = text.as_bytes();
    let mark = bytes[quote];
    let triple = bytes[quote..].starts_with(&[mark; 3]);
    let raw = text[start..quote].contains(['r', 'R']);
    let mut at = quote + if triple { 3 } else { 1 };
    while at < bytes.len() {
        if bytes[at] == b'\\' && !raw {
            at += 2;
        } else if triple && bytes[at..].starts_with(&[mark; 3]) {
            return Ok(at + 3);
        } else if !triple && bytes[at] == mark {
            return Ok(at + 1);
        } else if !triple && bytes[at] == b'\n' {
            break;
        } else {
            at += 1;
        }
    }
    Err(ExprError::new("the quoted text does not end")
        .at(quote, 1)
        .help(format!("close it with {}", char::from(mark))))
}

/// Where the `}}` stands that ends the expression beginning at the start of `text`.
///
/// Braces of map literals and quoted text do not end it; past the bound, nothing does.
pub(super) fn closing(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = 0;
    let bytes = text.as_bytes();
    while at < bytes.len() {
        match bytes[at] {
            b'}' if depth == 0 => return bytes[at..].starts_with(b"}}").then_some(at),
            b'{' => depth += 1,
            b'}' => depth -= 1,
            b'"' | b'\'' => {
                let raw = at > 0 && matches!(bytes[at - 1], b'r' | b'R');
                let start = if raw { at - 1 } else { at };
                // A quote that never ends: take the next `}}`, so that the
                // mistake is reported for this expression and not for the file.
                let Ok(end) = text_end(text, start, at) else {
                    return text[at..].find("}}").map(|found| at + found);
                };
                at = end;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    None
}
