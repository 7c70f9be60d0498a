//! The CEL parser: the one part of the `cel` crate that is used.
//!
//! Its interpreter has no limits, so what it parses is evaluated by `eval`.

use std::sync::LazyLock;

use ::cel::common::ast::SourceInfo;
use ::cel::{Env, IdedExpr, ParseErrors};

/// Parses an expression; macros are expanded, optional syntax is refused.
pub(super) fn parse(text: &str) -> Result<(IdedExpr, SourceInfo), ParseErrors> {
    static ENVIRONMENT: LazyLock<Env> =
        LazyLock::new(|| Env::stdlib().with_optional_support(false));
    ENVIRONMENT.parser().parse_with_source_info(text)
}
