//! From a prompt to a [`Scene`]: what was understood, and what was not.

use super::scene::{Hue, Scene, Style, Thing, Time, Wish};
use super::words::{LONGEST, Meaning, meaning_of_any_number};

/// How many ignored words are told.
const MOST_IGNORED: usize = 40;

/// A scene, and an honest account of how it came about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Understood {
    /// What will be painted.
    pub scene: Scene,
    /// What was found in the prompt, in the painter's words: `red boat`, `no clouds`.
    pub understood: Vec<String>,
    /// Words that meant nothing to the painter.
    pub ignored: Vec<String>,
}

impl Scene {
    /// Finds in a prompt what the painter knows; never fails.
    ///
    /// `no`, `without` and the like turn what follows away, up to the next comma
    /// or `but`, `with`, `a`; so does every word of the negative prompt. Where two
    /// hours or two styles are named, the first one counts.
    #[must_use]
    pub fn from_prompt(prompt: &str, negative_prompt: &str) -> Understood {
        let mut reader = Reader::default();
        for clause in clauses(prompt) {
            reader.clause(&clause, false);
        }
        for clause in clauses(negative_prompt) {
            reader.clause(&clause, true);
        }
        reader.finish()
    }
}

impl Style {
    /// The style of a name or a synonym of it: `black and white`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let name = name.trim().to_lowercase();
        if let Some(style) = Self::ALL.into_iter().find(|style| style.name() == name) {
            return Some(style);
        }
        match meaning_of_any_number(&name) {
            Some((Meaning::Style(style), _)) => Some(style),
            _ => None,
        }
    }
}

/// Lower-case words, clause by clause.
fn clauses(text: &str) -> Vec<Vec<String>> {
    text.split([',', '.', ';', ':', '!', '?', '\n', '(', ')', '|'])
        .map(|clause| {
            clause
                .split(|c: char| !c.is_alphanumeric())
                .filter(|word| !word.is_empty())
                .map(str::to_lowercase)
                .collect()
        })
        .collect()
}

#[derive(Debug, Default)]
struct Reader {
    scene: Scene,
    time: Option<Time>,
    style: Option<Style>,
    stormy: bool,
    understood: Vec<String>,
    ignored: Vec<String>,
}

impl Reader {
    fn clause(&mut self, words: &[String], negative: bool) {
        let mut not = false;
        let mut just_negated = false;
        let mut many = false;
        let mut hue: Option<(Hue, String)> = None;
        let mut at = 0;
        while at < words.len() {
            let (length, found) = longest(&words[at..]);
            let said = words[at..at + length].join(" ");
            at += length;
            let away = negative || not;
            let negated_before = std::mem::take(&mut just_negated);
            match found {
                Some((Meaning::Not, _)) => (not, just_negated) = (true, true),
                Some((Meaning::But, _)) => not = false,
                Some((Meaning::Article, _)) => not = not && negated_before,
                Some((Meaning::Filler, _)) => {}
                Some((Meaning::Many, _)) => many = true,
                Some((Meaning::Hue(found), _)) => {
                    if let Some((_, word)) = hue.replace((found, said)) {
                        self.ignore(&word, negative);
                    }
                }
                Some((Meaning::Thing(thing), plural)) => {
                    let hue = hue.take().map(|(hue, _)| hue);
                    self.thing(
                        thing,
                        Wish {
                            hue,
                            many: many || plural,
                        },
                        away,
                    );
                    many = false;
                }
                Some((found, _)) => {
                    if let Some((_, word)) = hue.take() {
                        self.ignore(&word, negative);
                    }
                    many = false;
                    self.place_or_manner(found, away, &said, negative);
                }
                None => {
                    if let Some((_, word)) = hue.take() {
                        self.ignore(&word, negative);
                    }
                    many = false;
                    self.ignore(&said, negative);
                }
            }
        }
        if let Some((_, word)) = hue {
            self.ignore(&word, negative);
        }
    }

    fn thing(&mut self, thing: Thing, wish: Wish, away: bool) {
        if away {
            if !self.scene.without.contains(&thing) {
                self.scene.without.push(thing);
            }
            self.note(format!("no {}", thing.name()));
            return;
        }
        let known = self.scene.things.entry(thing).or_default();
        known.hue = known.hue.or(wish.hue);
        known.many |= wish.many;
        self.note(match wish.hue {
            Some(hue) => format!("{} {}", hue.name(), thing.name()),
            None => thing.name().to_owned(),
        });
    }

    fn place_or_manner(&mut self, found: Meaning, away: bool, said: &str, negative: bool) {
        match found {
            Meaning::Land(land) if away => {
                self.scene.without_lands.push(land);
                self.note(format!("no {}", land.name()));
            }
            Meaning::Land(land) => {
                if !self.scene.lands.contains(&land) {
                    self.scene.lands.push(land);
                }
                self.note(land.name().to_owned());
            }
            // To turn an hour or a manner away decides nothing: there are many others.
            Meaning::Time(_) | Meaning::Style(_) if away => self.ignore(said, negative),
            Meaning::Time(Time::Storm) => {
                self.stormy = true;
                self.note(Time::Storm.name().to_owned());
            }
            Meaning::Time(time) => {
                if *self.time.get_or_insert(time) == time {
                    self.note(time.name().to_owned());
                } else {
                    self.ignore(said, negative);
                }
            }
            Meaning::Style(style) => {
                if *self.style.get_or_insert(style) == style {
                    self.note(style.name().to_owned());
                } else {
                    self.ignore(said, negative);
                }
            }
            Meaning::Thing(_)
            | Meaning::Hue(_)
            | Meaning::Many
            | Meaning::Not
            | Meaning::But
            | Meaning::Article
            | Meaning::Filler => {}
        }
    }

    fn note(&mut self, what: String) {
        if !self.understood.contains(&what) {
            self.understood.push(what);
        }
    }

    /// Negative prompts are full of words (`blurry`) that no painter needs to answer for.
    fn ignore(&mut self, word: &str, negative: bool) {
        let word: String = word.chars().take(40).collect();
        if !negative && self.ignored.len() < MOST_IGNORED && !self.ignored.contains(&word) {
            self.ignored.push(word);
        }
    }

    fn finish(mut self) -> Understood {
        let scene = &mut self.scene;
        scene.style = self.style.unwrap_or_default();
        let night = [Thing::Moon, Thing::Crescent, Thing::Stars, Thing::Aurora];
        let by_things = if night.iter().any(|thing| scene.things.contains_key(thing)) {
            Time::Night
        } else if scene.things.contains_key(&Thing::Lightning) {
            Time::Storm
        } else {
            Time::Day
        };
        scene.time = match (self.time, self.stormy) {
            (Some(time), true) => {
                scene.things.entry(Thing::Rain).or_default();
                scene.things.entry(Thing::Clouds).or_default();
                time
            }
            (Some(time), false) => time,
            (None, true) => Time::Storm,
            (None, false) => by_things,
        };
        scene
            .things
            .retain(|thing, _| !scene.without.contains(thing));
        scene
            .lands
            .retain(|land| !scene.without_lands.contains(land));
        scene.lands.sort_unstable();
        // What was turned away after it was asked for is not there after all.
        let gone: Vec<&str> = scene
            .without
            .iter()
            .map(|thing| thing.name())
            .chain(scene.without_lands.iter().map(|land| land.name()))
            .collect();
        self.understood.retain(|what| {
            what.starts_with("no ")
                || !gone
                    .iter()
                    .any(|name| what == name || what.ends_with(&format!(" {name}")))
        });
        Understood {
            scene: self.scene,
            understood: self.understood,
            ignored: self.ignored,
        }
    }
}

/// The longest known phrase at the beginning of `words`, or one unknown word.
fn longest(words: &[String]) -> (usize, Option<(Meaning, bool)>) {
    for length in (1..=LONGEST.min(words.len())).rev() {
        let phrase = words[..length].join(" ");
        if let Some(found) = meaning_of_any_number(&phrase) {
            return (length, Some(found));
        }
    }
    (1, None)
}

#[cfg(test)]
mod tests {
    use super::super::scene::Land;
    use super::*;

    fn read(prompt: &str) -> Understood {
        Scene::from_prompt(prompt, "")
    }

    #[test]
    fn words_become_places_hours_manners_and_things() {
        use {Land as L, Style as S, Thing as T, Time as H};
        type Row = (&'static str, &'static [Land], Time, Style, &'static [Thing]);
        let table: &[Row] = &[
            (
                "a lighthouse on a cliff at sunset",
                &[L::Cliff],
                H::Sunset,
                S::Plain,
                &[T::Lighthouse],
            ),
            (
                "Northern lights over a frozen lake",
                &[L::Lake],
                H::Night,
                S::Winter,
                &[T::Aurora],
            ),
            (
                "full moon, pine trees, mountains",
                &[L::Mountains],
                H::Night,
                S::Plain,
                &[T::Moon, T::Pines],
            ),
            (
                "hot air balloons over rolling hills at dawn",
                &[L::Hills],
                H::Dawn,
                S::Plain,
                &[T::Balloon],
            ),
            (
                "a city skyline, synthwave",
                &[L::City],
                H::Day,
                S::Neon,
                &[],
            ),
            (
                "sailing ship in a storm",
                &[],
                H::Storm,
                S::Plain,
                &[T::Boat],
            ),
            (
                "a stormy night at sea",
                &[L::Sea],
                H::Night,
                S::Plain,
                &[T::Clouds, T::Rain],
            ),
            (
                "black and white photo of cities",
                &[L::City],
                H::Day,
                S::Noir,
                &[],
            ),
            (
                "poppies in a meadow, golden hour, watercolour",
                &[L::Meadow],
                H::GoldenHour,
                S::Watercolor,
                &[T::Flowers],
            ),
            (
                "sand dunes and cacti",
                &[L::Desert],
                H::Day,
                S::Plain,
                &[T::Cactus],
            ),
        ];
        for (prompt, lands, time, style, things) in table {
            let scene = read(prompt).scene;
            assert_eq!(scene.lands, *lands, "{prompt}");
            assert_eq!((scene.time, scene.style), (*time, *style), "{prompt}");
            let mut found: Vec<Thing> = scene.things.keys().copied().collect();
            found.sort_unstable();
            assert_eq!(found, *things, "{prompt}");
        }
    }

    #[test]
    fn what_was_turned_away_is_absent() {
        for prompt in [
            "a sea with birds, no clouds",
            "sea and birds without any clouds",
            "sea without clouds but with birds",
            "no clouds and a bird over the sea",
        ] {
            let told = read(prompt);
            assert!(
                told.scene.without.contains(&Thing::Clouds),
                "{prompt}: {told:?}"
            );
            assert!(
                told.scene.things.contains_key(&Thing::Birds),
                "{prompt}: {told:?}"
            );
            assert!(
                told.understood.contains(&"no clouds".to_owned()),
                "{prompt}"
            );
        }
        let both = Scene::from_prompt("a red boat on a lake", "boats, blurry, low quality");
        assert!(both.scene.things.is_empty());
        assert_eq!(both.understood, ["lake", "no boat"]);
        assert!(both.ignored.is_empty());
    }

    #[test]
    fn colours_and_numbers_stay_with_their_things() {
        let told = read("a red boat and two blue houses by the sea");
        assert_eq!(told.scene.hue(Thing::Boat), Some(Hue::Red));
        assert_eq!(told.scene.hue(Thing::House), Some(Hue::Blue));
        assert!(told.scene.many(Thing::House) && !told.scene.many(Thing::Boat));
        assert_eq!(told.understood, ["red boat", "blue house", "sea"]);
    }

    #[test]
    fn unknown_words_are_told_once() {
        let told = read("a dragon and a dragon above a green castle with a hovercraft");
        assert_eq!(told.ignored, ["dragon", "hovercraft"]);
        assert_eq!(told.understood, ["green castle"]);
    }

    #[test]
    fn every_style_answers_to_its_name() {
        for style in Style::ALL {
            assert_eq!(Style::named(style.name()), Some(style));
        }
        assert_eq!(Style::named(" Black and White "), Some(Style::Noir));
        assert_eq!(Style::named("cubist"), None);
    }

    #[test]
    fn no_word_means_two_things() {
        for thing in Thing::ALL {
            let found = meaning_of_any_number(thing.name());
            assert!(
                matches!(found, Some((Meaning::Thing(t), _)) if t == thing),
                "{thing:?}: {found:?}"
            );
        }
        for land in Land::ALL {
            let found = meaning_of_any_number(land.name());
            assert!(
                matches!(found, Some((Meaning::Land(l), _)) if l == land),
                "{land:?}: {found:?}"
            );
        }
    }
}
