//! The words the painter knows.

use super::scene::{Hue, Land, Style, Thing, Time};

/// What a word or phrase stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    Land(Land),
    Time(Time),
    Style(Style),
    Thing(Thing),
    Hue(Hue),
    /// Several of what follows.
    Many,
    /// None of what follows.
    Not,
    /// What follows is wanted again.
    But,
    /// `a`, `an`: wanted again, unless directly after [`Meaning::Not`].
    Article,
    /// Says nothing about the picture, or what every picture has.
    Filler,
}

/// The longest phrase, in words.
pub(super) const LONGEST: usize = 3;

/// What a phrase of one to [`LONGEST`] lower-case words stands for.
pub(super) fn meaning(phrase: &str) -> Option<Meaning> {
    for (meaning, phrases) in LEXICON {
        if phrases.split(", ").any(|known| known == phrase) {
            return Some(*meaning);
        }
    }
    None
}

/// [`meaning`], also for simple plurals; the flag says that it was one.
pub(super) fn meaning_of_any_number(phrase: &str) -> Option<(Meaning, bool)> {
    if let Some(found) = meaning(phrase) {
        return Some((found, false));
    }
    let singular = |cut: &str, put: &str| {
        phrase
            .strip_suffix(cut)
            .and_then(|stem| meaning(&format!("{stem}{put}")))
    };
    singular("ies", "y")
        .or_else(|| singular("ves", "f"))
        .or_else(|| singular("es", ""))
        .or_else(|| singular("s", ""))
        .map(|found| (found, true))
}

const LEXICON: &[(Meaning, &str)] = &[
    (
        Meaning::Land(Land::Cliff),
        "cliff, clifftop, bluff, headland, coast, coastline, rocky coast, rocky shore, seaside cliff, cape, promontory, fjord",
    ),
    (Meaning::Land(Land::Waterfall), "waterfall, cascade, falls"),
    (
        Meaning::Land(Land::Canyon),
        "canyon, gorge, ravine, badland, mesa",
    ),
    (
        Meaning::Land(Land::Island),
        "island, isle, tropical island, atoll, islet, tropical",
    ),
    (
        Meaning::Land(Land::City),
        "city, skyline, skyscraper, downtown, metropolis, cityscape, town, urban, harbour city",
    ),
    (Meaning::Land(Land::Village), "village, hamlet, small town"),
    (
        Meaning::Land(Land::Lake),
        "lake, pond, lakeside, lakeshore, loch, tarn, mere",
    ),
    (
        Meaning::Land(Land::River),
        "river, stream, creek, brook, valley, riverside",
    ),
    (
        Meaning::Land(Land::Desert),
        "desert, dune, sahara, sand dune, arid",
    ),
    (
        Meaning::Land(Land::Beach),
        "beach, shore, seashore, seaside, lagoon, sand, sandy beach, bay",
    ),
    (
        Meaning::Land(Land::Sea),
        "sea, ocean, waves, wave, seascape, open water, water, tide, surf",
    ),
    (
        Meaning::Land(Land::Forest),
        "forest, wood, woodland, jungle, grove, taiga, forested, wooded",
    ),
    (
        Meaning::Land(Land::Volcano),
        "volcano, volcanic, lava, eruption, erupting",
    ),
    (
        Meaning::Land(Land::SnowPlain),
        "snow plain, snowfield, snow field, tundra, arctic, snowy plain, snowy field, antarctica, glacier",
    ),
    (
        Meaning::Land(Land::Meadow),
        "meadow, field, prairie, pasture, grassland, flower field, steppe, plain",
    ),
    (
        Meaning::Land(Land::Hills),
        "hill, hilly, rolling hill, countryside, farmland, hillside, moor, moorland, vineyard",
    ),
    (
        Meaning::Land(Land::Mountains),
        "mountain, peak, alps, alpine, mountainous, summit, mountain range, range, himalaya, dolomite, ridge",
    ),
    (
        Meaning::Time(Time::Dawn),
        "dawn, sunrise, daybreak, morning, early morning, first light",
    ),
    (
        Meaning::Time(Time::Day),
        "day, daytime, noon, midday, daylight, afternoon, sunny, sunny day, sunlit, summer day, bright day, sunshine",
    ),
    (
        Meaning::Time(Time::GoldenHour),
        "golden hour, golden light, late afternoon, warm light, golden",
    ),
    (
        Meaning::Time(Time::Sunset),
        "sunset, sundown, setting sun, evening glow",
    ),
    (
        Meaning::Time(Time::Dusk),
        "dusk, twilight, evening, blue hour, nightfall, gloaming",
    ),
    (
        Meaning::Time(Time::Night),
        "night, midnight, nighttime, nocturnal, nocturne, moonlit, moonlight, starlit, at night, night sky",
    ),
    (
        Meaning::Time(Time::Storm),
        "storm, stormy, thunderstorm, tempest, gale, hurricane, squall, overcast, gloomy, stormy weather",
    ),
    (
        Meaning::Style(Style::Neon),
        "neon, synthwave, vaporwave, cyberpunk, retrowave, outrun, neon light",
    ),
    (
        Meaning::Style(Style::Noir),
        "noir, black and white, monochrome, black white, grayscale, greyscale, film noir, b w",
    ),
    (
        Meaning::Style(Style::Pastel),
        "pastel, soft colors, soft colours, pale, dreamy",
    ),
    (
        Meaning::Style(Style::Autumn),
        "autumn, fall, autumnal, october, fall colors, fall colours, autumn colors, autumn colours, autumn leaf, autumn leaves, autumn tree",
    ),
    (
        Meaning::Style(Style::Winter),
        "winter, wintry, snowy, snow covered, snowcovered, frozen, icy, frosty, christmas, january",
    ),
    (
        Meaning::Style(Style::Watercolor),
        "watercolor, watercolour, aquarelle, water color, water colour, aquatint",
    ),
    (
        Meaning::Style(Style::Sepia),
        "sepia, vintage, old photograph, old photo, daguerreotype, antique",
    ),
    (
        Meaning::Style(Style::Woodcut),
        "woodcut, ink, engraving, linocut, etching, pen and ink, ink drawing, block print",
    ),
    (
        Meaning::Style(Style::Oil),
        "oil painting, oil, impressionist, impressionism, brush stroke, van gogh, monet, impasto, painterly",
    ),
    (
        Meaning::Style(Style::Plain),
        "photo, photograph, realistic, photorealistic",
    ),
    (Meaning::Thing(Thing::Sun), "sun, low sun, rising sun"),
    (
        Meaning::Thing(Thing::Moon),
        "moon, full moon, supermoon, harvest moon",
    ),
    (
        Meaning::Thing(Thing::Crescent),
        "crescent, crescent moon, new moon, half moon, sickle moon",
    ),
    (
        Meaning::Thing(Thing::Stars),
        "star, starry, starry sky, milky way, galaxy, constellation, starry night",
    ),
    (
        Meaning::Thing(Thing::Clouds),
        "cloud, cloudy, cumulus, cloudscape, dramatic cloud, dramatic sky",
    ),
    (
        Meaning::Thing(Thing::Rain),
        "rain, rainy, raining, drizzle, downpour, shower",
    ),
    (
        Meaning::Thing(Thing::Snow),
        "snow, snowing, snowfall, blizzard, snowflake, falling snow",
    ),
    (
        Meaning::Thing(Thing::Fog),
        "fog, mist, misty, foggy, haze, hazy, morning mist",
    ),
    (
        Meaning::Thing(Thing::Aurora),
        "aurora, northern light, northern lights, aurora borealis, polar light, southern light",
    ),
    (Meaning::Thing(Thing::Rainbow), "rainbow"),
    (
        Meaning::Thing(Thing::Lightning),
        "lightning, thunder, lightning bolt, thunderbolt",
    ),
    (
        Meaning::Thing(Thing::Birds),
        "bird, gull, seagull, crow, geese, goose, swallow, flock, eagle, flock of bird",
    ),
    (
        Meaning::Thing(Thing::Balloon),
        "balloon, hot air balloon, air balloon, hotair balloon",
    ),
    (
        Meaning::Thing(Thing::Boat),
        "boat, sailboat, sailing boat, ship, sailing ship, yacht, sail, fishing boat, schooner, regatta, harbour, harbor, marina",
    ),
    (
        Meaning::Thing(Thing::House),
        "house, cabin, cottage, hut, farmhouse, farm, barn, home, chalet, log cabin, lodge",
    ),
    (
        Meaning::Thing(Thing::Lighthouse),
        "lighthouse, beacon, light house",
    ),
    (
        Meaning::Thing(Thing::Church),
        "church, chapel, cathedral, steeple",
    ),
    (
        Meaning::Thing(Thing::Castle),
        "castle, fortress, palace, citadel, fort, keep",
    ),
    (Meaning::Thing(Thing::Windmill), "windmill, mill"),
    (
        Meaning::Thing(Thing::Bridge),
        "bridge, stone bridge, viaduct",
    ),
    (Meaning::Thing(Thing::Tent), "tent, camp, campsite, camping"),
    (
        Meaning::Thing(Thing::Campfire),
        "campfire, bonfire, fire, camp fire",
    ),
    (
        Meaning::Thing(Thing::Fence),
        "fence, wooden fence, picket fence",
    ),
    (
        Meaning::Thing(Thing::Path),
        "path, trail, road, track, lane, footpath, dirt road",
    ),
    (
        Meaning::Thing(Thing::Trees),
        "tree, oak, maple, birch, beech, leafy, leaf, foliage, cherry tree, apple tree, orchard",
    ),
    (
        Meaning::Thing(Thing::Pines),
        "pine, fir, spruce, conifer, evergreen, pine tree, fir tree, redwood, cedar, larch",
    ),
    (
        Meaning::Thing(Thing::Palms),
        "palm, palm tree, coconut tree, coconut palm",
    ),
    (
        Meaning::Thing(Thing::Cactus),
        "cactus, cacti, saguaro, cactuses",
    ),
    (
        Meaning::Thing(Thing::Flowers),
        "flower, wildflower, poppy, tulip, lavender, blossom, daisy, bloom, sunflower",
    ),
    (Meaning::Thing(Thing::Rocks), "rock, boulder, stone, rocky"),
    (Meaning::Hue(Hue::Red), "red, crimson, scarlet"),
    (Meaning::Hue(Hue::Orange), "orange, amber"),
    (Meaning::Hue(Hue::Yellow), "yellow"),
    (Meaning::Hue(Hue::Green), "green, emerald"),
    (Meaning::Hue(Hue::Blue), "blue, turquoise, teal, azure"),
    (Meaning::Hue(Hue::Purple), "purple, violet"),
    (Meaning::Hue(Hue::Pink), "pink, magenta, rose"),
    (Meaning::Hue(Hue::White), "white, whitewashed"),
    (Meaning::Hue(Hue::Black), "black"),
    (Meaning::Hue(Hue::Brown), "brown, wooden"),
    (Meaning::Hue(Hue::Grey), "grey, gray, silver"),
    (
        Meaning::Many,
        "many, several, two, three, four, five, six, some, few, lots of, a few, dozens of, fleet of",
    ),
    (
        Meaning::Not,
        "no, not, without, never, minus, except, lacking, free of, devoid of",
    ),
    (Meaning::But, "but, with, featuring, showing"),
    (Meaning::Article, "a, an, one"),
    (
        Meaning::Filler,
        "the, of, on, at, in, by, and, or, any, to, from, over, under, above, below, near, beside, behind, before, between, beyond, across, along, around, into, its, it, is, are, this, that, there, for, during, while, as, up, down, very, through, against, front, sky, horizon, landscape, scene, scenery, view, vista, picture, image, painting, drawing, illustration, print, style, light, lights, reflection, reflected, reflecting, shadow, colors, colours, color, colour, background, foreground, distance, distant, nature, weather, land, air, s, t, lit, window, lit window",
    ),
];
