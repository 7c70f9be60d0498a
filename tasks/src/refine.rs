//! `prompt.refine`: a few words become a prompt that a generator can use.
//!
//! Without a language model: a grammar (see the tables in `refine/grammar.rs`)
//! keeps the subject word for word and adds light, palette, lens, style and
//! finish by rule and seed. The same input gives the same answer anywhere, so
//! the step can be cached, and what was added is listed.

use aquatint_engine::task::{LogLevel, Task, TaskContext, TaskError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod grammar;

use grammar::{Facet, NEGATIVE, STYLES, Style, says, words};

/// Adds to a prompt how the picture should look, never what should be in it.
#[derive(Debug, Clone, Copy)]
pub struct Refine;

/// What `prompt.refine` takes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// The subject, 1 to 5,000 characters; kept word for word.
    #[schemars(length(min = 1, max = 5000))]
    pub prompt: String,
    /// What should not be seen; comes first in the refined one.
    #[serde(default)]
    #[schemars(length(max = 5000))]
    pub negative_prompt: String,
    /// `none`, `photo`, `painting`, `oil`, `woodcut`, `watercolor`, `neon`, `noir`, `pastel`,
    /// `autumn`, `sepia` or `winter`.
    #[serde(default = "default_style")]
    pub style: String,
    /// Which of the possible phrases are chosen.
    #[serde(default)]
    pub seed: u64,
}

/// What `prompt.refine` returns.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Output {
    /// The refined prompt; at most 5,000 characters.
    pub prompt: String,
    /// What should not be seen; at most 5,000 characters.
    pub negative_prompt: String,
    /// The prompt as it was given.
    pub original_prompt: String,
    /// The style that was asked for.
    pub style: String,
    /// The phrases added, in order.
    pub added: Vec<String>,
}

/// The longest prompt, in characters, before and after: what generators accept.
const MAX_CHARS: usize = 5000;

fn default_style() -> String {
    STYLES[0].name.to_owned()
}

impl Task for Refine {
    const NAME: &'static str = "prompt.refine";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str =
        "Keeps a prompt's subject and adds light, palette, lens, style and finish by rule.";
    type Input = Input;
    type Output = Output;

    async fn run(&self, ctx: TaskContext, input: Input) -> Result<Output, TaskError> {
        let output = refine(&input)?;
        ctx.log(
            LogLevel::Info,
            format!("added {} phrases to the prompt", output.added.len()),
        );
        Ok(output)
    }
}

/// The whole of refining; pure.
fn refine(input: &Input) -> Result<Output, TaskError> {
    let style = check(input)?;
    let subject = input.prompt.trim();
    let said = words(subject);
    let mut prompt = subject.to_owned();
    let mut added = Vec::new();
    for facet in Facet::ALL {
        let is_spoken_of = facet.spoken_by().iter().any(|word| says(&said, word));
        let phrase = pick(style, facet, choice(input.seed, subject, facet));
        let Some(phrase) = phrase.filter(|_| !is_spoken_of) else {
            continue;
        };
        let joint = if prompt.ends_with([',', '.', ';', ':', '!', '?']) {
            " "
        } else {
            ", "
        };
        if prompt.chars().count() + joint.len() + phrase.chars().count() > MAX_CHARS {
            break;
        }
        prompt.push_str(joint);
        prompt.push_str(phrase);
        added.push(phrase.to_owned());
    }
    Ok(Output {
        prompt,
        negative_prompt: negative(&input.negative_prompt, style, &said),
        original_prompt: input.prompt.clone(),
        style: style.name.to_owned(),
        added,
    })
}

fn check(input: &Input) -> Result<&'static Style, TaskError> {
    let refuse = |why| TaskError::fatal("invalid_input", why);
    if input.prompt.trim().is_empty() {
        return Err(refuse(
            "`prompt` is empty; say what the picture should show".to_owned(),
        ));
    }
    for (field, text) in [
        ("prompt", &input.prompt),
        ("negative_prompt", &input.negative_prompt),
    ] {
        let count = text.chars().count();
        if count > MAX_CHARS {
            return Err(refuse(format!(
                "`{field}` has {count} characters; shorten it to {MAX_CHARS}"
            )));
        }
    }
    STYLES
        .iter()
        .find(|style| style.name == input.style)
        .ok_or_else(|| {
            let known: Vec<_> = STYLES.iter().map(|style| style.name).collect();
            refuse(format!(
                "`style`: unknown style `{}`; choose one of `{}`",
                input.style.chars().take(80).collect::<String>(),
                known.join("`, `")
            ))
        })
}

fn pick(style: &Style, facet: Facet, choice: u64) -> Option<&'static str> {
    let phrases = match facet {
        Facet::Style => return Some(style.phrase).filter(|phrase| !phrase.is_empty()),
        Facet::Light => style.light,
        Facet::Palette => style.palette,
        Facet::Lens => style.lens,
        Facet::Quality => style.quality,
    };
    let index = choice.checked_rem(phrases.len() as u64)?;
    phrases.get(usize::try_from(index).ok()?).copied()
}

/// A number that depends on seed, subject and facet: FNV-1a, then `SplitMix64`'s finisher.
fn choice(seed: u64, subject: &str, facet: Facet) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in seed
        .to_le_bytes()
        .into_iter()
        .chain([facet as u8])
        .chain(subject.bytes())
    {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// What was given, then what the style and every picture should avoid; without
/// repeats, and without anything the subject asks for.
fn negative(given: &str, style: &Style, said: &[String]) -> String {
    let mut parts: Vec<&str> = given
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .collect();
    let mut chars: usize = parts.iter().map(|part| part.chars().count() + 2).sum();
    for part in style.negative.iter().chain(NEGATIVE) {
        let is_wanted = part.split(' ').any(|word| says(said, word));
        let is_there = parts.iter().any(|p| p.eq_ignore_ascii_case(part));
        let fits = chars + part.len() + 2 <= MAX_CHARS;
        if !is_wanted && !is_there && fits {
            parts.push(part);
            chars += part.len() + 2;
        }
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use proptest::prelude::*;

    fn input(prompt: &str, style: &str, seed: u64) -> Input {
        Input {
            prompt: prompt.to_owned(),
            negative_prompt: String::new(),
            style: style.to_owned(),
            seed,
        }
    }

    fn refined(prompt: &str, style: &str, seed: u64) -> Output {
        refine(&input(prompt, style, seed)).unwrap()
    }

    #[test]
    fn a_subject_gets_light_palette_lens_and_finish() {
        let output = refined("a lighthouse on a cliff", "none", 7);
        assert_eq!(output.added.len(), 4, "{output:?}");
        assert!(output.prompt.starts_with("a lighthouse on a cliff, "));
        assert_eq!(output.original_prompt, "a lighthouse on a cliff");
        assert_eq!(output.negative_prompt, NEGATIVE.join(", "));
    }

    #[test]
    fn what_the_subject_says_itself_is_not_said_again() {
        for (prompt, silent) in [
            ("a lighthouse at sunset", "light"),
            ("Northern Lights over a lake", "light"),
            ("two stars above a hill", "light"),
            ("a red house", "colours"),
            ("a hill in black and white", "colours"),
            ("aerial view of a river", "lens"),
            ("a minimalist tower", "detail"),
        ] {
            for seed in 0..40 {
                let added = refined(prompt, "none", seed).added;
                assert!(
                    !added.iter().any(|p| p.contains(silent)),
                    "{prompt}: {added:?}"
                );
            }
        }
    }

    #[test]
    fn a_season_or_medium_in_the_subject_outweighs_the_style() {
        let phrase = |prompt, style| refined(prompt, style, 1).added.join(", ");
        assert!(phrase("a lake", "winter").contains("winter style"));
        assert!(!phrase("a summer lake", "winter").contains("winter"));
        assert!(!phrase("an ink drawing of a lake", "photo").contains("photograph"));
    }

    #[test]
    fn a_word_within_a_word_says_nothing() {
        // "starfish" names no star, "holiday" no day.
        let output = refined("a starfish holiday", "none", 3);
        assert_eq!(output.added.len(), 4, "{output:?}");
    }

    #[test]
    fn the_negative_prompt_keeps_what_was_given_and_never_forbids_the_subject() {
        let mut given = input("a wall with text on it", "noir", 1);
        given.negative_prompt = "people, Watermark".to_owned();
        let negative = refine(&given).unwrap().negative_prompt;
        assert!(negative.starts_with("people, Watermark, bright colours"));
        assert!(!negative.contains("text"), "{negative}");
        assert!(!negative.contains("watermark"), "{negative}");
    }

    #[test]
    fn bad_input_is_refused_with_field_value_and_remedy() {
        let refused = |input: &Input| refine(input).unwrap_err().message;
        assert!(refused(&input(" \n", "none", 0)).contains("`prompt` is empty"));
        assert!(refused(&input(&"é".repeat(5001), "none", 0)).contains("5001"));
        let message = refused(&input("a lake", "cubist", 0));
        assert!(message.contains("`cubist`") && message.contains("`watercolor`"));
    }

    /// Nouns that a generator would draw: refining must add none of them.
    const THINGS: &[&str] = &[
        "bird",
        "boat",
        "ship",
        "sun",
        "moon",
        "star",
        "cloud",
        "rain",
        "snow",
        "tree",
        "house",
        "mountain",
        "sea",
        "ocean",
        "lake",
        "river",
        "forest",
        "city",
        "desert",
        "hill",
        "fog",
        "mist",
        "rainbow",
        "aurora",
        "people",
        "person",
        "cactus",
        "flower",
        "leaf",
        "leaves",
        "night",
        "storm",
        "beach",
        "sand",
        "field",
        "canyon",
        "waterfall",
        "island",
        "village",
    ];

    #[test]
    fn no_phrase_of_any_style_names_a_thing() {
        for style in STYLES {
            let phrases = [
                &[style.phrase],
                style.light,
                style.palette,
                style.lens,
                style.quality,
            ];
            for phrase in phrases.concat() {
                let said = words(phrase);
                let thing = THINGS.iter().find(|thing| says(&said, thing));
                assert_eq!(thing, None, "`{}`: `{phrase}`", style.name);
            }
        }
    }

    fn any_style() -> impl Strategy<Value = &'static str> {
        proptest::sample::select(STYLES.iter().map(|style| style.name).collect::<Vec<_>>())
    }

    proptest! {
        #[test]
        fn the_subject_is_kept_word_for_word(prompt in "\\PC{1,300}", style in any_style(), seed: u64) {
            prop_assume!(!prompt.trim().is_empty());
            let output = refined(&prompt, style, seed);
            prop_assert!(output.prompt.starts_with(prompt.trim()));
            prop_assert_eq!(output.original_prompt, prompt);
        }

        #[test]
        fn the_same_seed_gives_the_same_answer(prompt in "[a-z ]{0,60}x", style in any_style(), seed: u64) {
            prop_assert_eq!(refined(&prompt, style, seed), refined(&prompt, style, seed));
        }

        #[test]
        fn what_comes_out_would_be_taken_in_again(length in 1_usize..=5000, style in any_style(), seed: u64) {
            let output = refined(&"é".repeat(length), style, seed);
            prop_assert!(output.prompt.chars().count() <= 5000);
            prop_assert!(output.negative_prompt.chars().count() <= 5000);
            prop_assert!(output.added.len() <= Facet::ALL.len());
        }

        #[test]
        fn refining_twice_adds_nothing_more(prompt in "[a-z]{1,20}", style in any_style(), seed: u64) {
            let once = refined(&prompt, style, seed);
            let twice = refined(&once.prompt, style, seed);
            prop_assert_eq!(twice.added, Vec::<String>::new(), "{}", once.prompt);
        }
    }

    #[test]
    fn different_seeds_choose_differently() {
        let prompts: std::collections::HashSet<_> = (0..50)
            .map(|seed| refined("a lake", "none", seed).prompt)
            .collect();
        assert!(prompts.len() > 20, "{} different", prompts.len());
    }
}
