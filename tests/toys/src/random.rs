//! Random vectors: values of every kind, expressions of every operator, with the core's outcome as the expectation. The
//! same seed gives the same vectors; no clock is involved.

use crate::kinds::Case;
use crate::runner::{self, Vector};

/// A small generator of numbers (SplitMix64), so that a seed means the same everywhere and for ever.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// A generator that begins with this seed.
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    /// The next number.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below a limit; 0 if there is none.
    pub fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.roll() % (limit.max(1) as u64)).unwrap_or(0)
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from.get(self.below(from.len())).copied().unwrap_or_default()
    }

    /// Members of a set, or keys. In a real host each stands there once; a toy has them as they come.
    fn distinct(&mut self, most: usize, once: bool, mut make: impl FnMut(&mut Dice) -> String) -> Vec<String> {
        let mut made: Vec<String> = Vec::new();
        for _ in 0..self.below(most + 1) {
            let one = make(self);
            if !once || !made.contains(&one) {
                made.push(one);
            }
        }
        made
    }

    fn many(&mut self, most: usize, mut make: impl FnMut(&mut Dice) -> String) -> String {
        let count = self.below(most + 1);
        (0..count).map(|_| make(self)).collect::<Vec<_>>().join(", ")
    }
}

/// Whom vectors are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum For {
    /// Any host.
    Any,
    /// What Python has: neither `undefined` nor maps that have string keys only.
    Python,
    /// What Node has: neither decimals nor enumerations.
    Node,
}

impl For {
    /// True if members and keys stand there once.
    fn once(self) -> bool {
        self != For::Any
    }
}

const NAMES: &[&str] = &["a", "b", "c", "d", "e", "f"];
const MEMBERS: &[&str] =
    &["name", "size", "key", "value", "message", "rate", "Key", "Value", "length", "3", "mug", "password"];
const TEXTS: &[&str] = &[
    r#""""#,
    r#""mug""#,
    r#""kettle""#,
    r#""é☕""#,
    r#""a😀b""#,
    r#""3""#,
    r#""RED""#,
    r#""Color.RED""#,
    r#""shop.Color.RED""#,
    r#""5""#,
    r#""m""#,
    r#""ett""#,
    r#""^m""#,
    r#""[0-9]+$""#,
    r#""(""#,
    r#""name""#,
    r#""password""#,
    r#""api_key""#,
    r#""size""#,
    r#""ÿ""#,
    r#""\u200b""#,
    r#""Mug""#,
    r#""\u0000x""#,
];
const NUMBERS: &[&str] = &[
    "0",
    "1",
    "2",
    "3",
    "5",
    "-1",
    "-3",
    "255",
    "0.5",
    "2.5",
    "-0.25",
    r#"{"$float": "5.0"}"#,
    r#"{"$float": "-0.0"}"#,
    r#"{"$float": "NaN"}"#,
    r#"{"$float": "Infinity"}"#,
    r#"{"$float": "-Infinity"}"#,
    r#"{"$float": "1e300"}"#,
    r#"{"$float": "9007199254740992.0"}"#,
    r#"{"$float": "9223372036854775808.0"}"#,
    r#"{"$float": "5e-324"}"#,
    r#"{"$int": "9007199254740993"}"#,
    r#"{"$int": "9223372036854775807"}"#,
    r#"{"$int": "9223372036854775808"}"#,
    r#"{"$int": "-9223372036854775808"}"#,
    r#"{"$int": "123456789012345678901234567890"}"#,
    r#"{"$int": "-18446744073709551617"}"#,
    r#"{"$decimal": "1.10"}"#,
    r#"{"$decimal": "1.1"}"#,
    r#"{"$decimal": "5.00"}"#,
    r#"{"$decimal": "0.5"}"#,
    r#"{"$decimal": "-1E+30"}"#,
    r#"{"$decimal": "1E-400"}"#,
    r#"{"$decimal": "9223372036854775808"}"#,
    r#"{"$decimal": "0E+9"}"#,
    r#"{"$decimal": "1E+5000"}"#,
];
/// So many of the numbers, the last, are decimals.
const DECIMALS: usize = 9;
const LITERALS: &[&str] = &[
    "null",
    "true",
    "false",
    "0",
    "1",
    "2",
    "-1",
    "3",
    "5",
    "5.0",
    "2.5",
    "1e300",
    "9007199254740993",
    "9223372036854775808",
    "-123456789012345678901234567890",
    r#""""#,
    r#""mug""#,
    r#""RED""#,
    r#""m""#,
    r#""3""#,
    r#""Color.RED""#,
    r#""é☕""#,
    r#""size""#,
];
const CLASSES: &[&str] =
    &[r#""class": "shop.Box", "bases": ["shop.Thing"]"#, r#""class": "shop.Lid""#, r#""class": "bank.Vault""#];

/// A random value.
fn value(dice: &mut Dice, depth: usize, whom: For) -> String {
    let (python, node) = (whom == For::Python, whom == For::Node);
    let kinds = if depth == 0 { 10 } else { 16 };
    match dice.below(kinds) {
        0 if python => "null".to_owned(),
        0 => dice.pick(&["null", r#"{"$undefined": true}"#]).to_owned(),
        1 => dice.pick(&["true", "false"]).to_owned(),
        2..=4 if node => dice.pick(NUMBERS.split_at(NUMBERS.len() - DECIMALS).0).to_owned(),
        2..=4 => dice.pick(NUMBERS).to_owned(),
        5..=7 => dice.pick(TEXTS).to_owned(),
        8 if node => dice.pick(&[r#"{"$bytes": ""}"#, r#"{"$bytes": "0aff"}"#, r#"{"$bytes": "6d7567"}"#]).to_owned(),
        9 if node => {
            dice.pick(&[r#"{"$function": "refund"}"#, r#"{"$iterator": true}"#, r#"{"$opaque": true}"#]).to_owned()
        }
        8 => {
            dice.pick(&[r#"{"$bytes": ""}"#, r#"{"$bytes": "0aff"}"#, r#"{"$bytes": "6d7567"}"#, RED, BLUE]).to_owned()
        }
        9 => {
            dice.pick(&[r#"{"$function": "refund"}"#, r#"{"$iterator": true}"#, r#"{"$opaque": true}"#, RED]).to_owned()
        }
        10 | 11 => format!("[{}]", dice.many(4, |dice| value(dice, depth - 1, whom))),
        12 => {
            format!("{{\"$set\": [{}]}}", dice.distinct(4, whom.once(), |dice| value(dice, depth - 1, whom)).join(", "))
        }
        13 => {
            let keys = dice.distinct(7, whom.once(), |dice| value(dice, depth - 1, whom));
            let pairs = keys.iter().map(|key| format!("[{key}, {}]", value(dice, depth - 1, whom)));
            let pairs = pairs.collect::<Vec<_>>().join(", ");
            format!("{{\"$map\": [{pairs}]}}")
        }
        14 if python => {
            let entries: Vec<String> =
                members(dice, depth, whom).iter().map(|(name, value)| format!("[\"{name}\", {value}]")).collect();
            format!("{{\"$map\": [{}]}}", entries.join(", "))
        }
        14 => format!("{{\"$record\": {}}}", fields(dice, depth, whom)),
        _ => {
            let (class, fields) = (dice.pick(CLASSES), fields(dice, depth, whom));
            if dice.below(3) == 0 {
                let message = dice.pick(TEXTS);
                return format!("{{\"$exception\": {{{class}, \"message\": {message}, \"fields\": {fields}}}}}");
            }
            format!("{{\"$object\": {{{class}, \"fields\": {fields}, \"getters\": [\"rate\"]}}}}")
        }
    }
}

const RED: &str = r#"{"$enum": {"class": "shop.Color", "name": "RED", "value": 1}}"#;
const BLUE: &str = r#"{"$enum": {"class": "shop.Color", "name": "BLUE", "value": 2}}"#;

fn members(dice: &mut Dice, depth: usize, whom: For) -> Vec<(&'static str, String)> {
    let mut members = Vec::new();
    for name in ["name", "size", "key", "value", "3", "mug", "password"] {
        if dice.below(3) == 0 {
            members.push((name, value(dice, depth.saturating_sub(1), whom)));
        }
    }
    members
}

fn fields(dice: &mut Dice, depth: usize, whom: For) -> String {
    let members = members(dice, depth, whom);
    let members: Vec<String> = members.iter().map(|(name, value)| format!("\"{name}\": {value}")).collect();
    format!("{{{}}}", members.join(", "))
}

fn reference(dice: &mut Dice, inside: bool) -> String {
    let name = match dice.below(8) {
        0..=3 if inside => dice.pick(&["@it", "@it", "@it", "@key", "@value"]),
        4 => dice.pick(&["@return", "@exception", "@duration", "missing"]),
        _ => dice.pick(NAMES),
    };
    format!("{{\"ref\": \"{name}\"}}")
}

fn node(dice: &mut Dice, depth: usize, inside: bool) -> String {
    if depth == 0 {
        return if dice.below(3) == 0 { dice.pick(LITERALS).to_owned() } else { reference(dice, inside) };
    }
    let of = |dice: &mut Dice| {
        let depth = dice.below(depth);
        node(dice, depth, inside)
    };
    match dice.below(14) {
        0 | 1 => {
            let op = dice.pick(&["not", "len", "count", "isEmpty", "isDefined", "isUndefined"]);
            format!("{{\"{op}\": {}}}", of(dice))
        }
        2 | 3 => {
            let op = dice.pick(&["and", "or"]);
            let (first, rest) = (of(dice), dice.many(2, of));
            if rest.is_empty() {
                format!("{{\"{op}\": [{first}]}}")
            } else {
                format!("{{\"{op}\": [{first}, {rest}]}}")
            }
        }
        4..=6 => {
            let op = dice.pick(&[
                "eq",
                "eq",
                "ne",
                "gt",
                "ge",
                "lt",
                "le",
                "contains",
                "contains",
                "startsWith",
                "endsWith",
            ]);
            format!("{{\"{op}\": [{}, {}]}}", of(dice), of(dice))
        }
        7 => {
            let pattern = if dice.below(2) == 0 {
                reference(dice, inside)
            } else {
                dice.pick(&[r#""^m""#, r#""[0-9]""#]).to_owned()
            };
            format!("{{\"matches\": [{}, {pattern}]}}", of(dice))
        }
        8 => format!("{{\"index\": [{}, {}]}}", reference(dice, inside), of(dice)),
        9 => {
            let member = dice.pick(MEMBERS);
            format!("{{\"getmember\": [{}, \"{member}\"]}}", reference(dice, inside))
        }
        10 => {
            let to = dice.pick(&["", ", 2", ", 5", ", -1"]);
            format!("{{\"substring\": [{}, {}{to}]}}", of(dice), dice.pick(&["0", "1", "3", "-1"]))
        }
        11 => {
            let class = dice.pick(&["shop.Box", "Box", "shop.Thing", "Thing", "Nothing"]);
            format!("{{\"instanceof\": [{}, \"{class}\"]}}", of(dice))
        }
        _ => {
            let op = dice.pick(&["any", "all", "filter"]);
            let depth = dice.below(depth);
            format!("{{\"{op}\": [{}, {}]}}", of(dice), node(dice, depth, true))
        }
    }
}

/// One vector without its expectation.
fn ask(dice: &mut Dice, id: &str, whom: For) -> String {
    let kind = if dice.below(4) == 0 { "condition" } else { "eval" };
    let mut vars: Vec<String> = NAMES.iter().map(|name| format!("\"{name}\": {}", value(dice, 3, whom))).collect();
    match dice.below(3) {
        0 => vars.push(format!("\"@return\": {}, \"@duration\": 12.5", value(dice, 2, whom))),
        1 => vars.push("\"@exception\": {\"$exception\": {\"class\": \"shop.Gone\", \"message\": \"mug\"}}".to_owned()),
        _ => {}
    }
    let config = match dice.below(4) {
        0 => ", \"config\": {\"redacted_types\": [\"bank.*\"], \"redacted_identifiers\": [\"mug\"]}",
        _ => "",
    };
    let host = match whom {
        For::Any => "",
        For::Python => ", \"host\": \"python\"",
        For::Node => ", \"host\": \"node\"",
    };
    let depth = 1 + dice.below(4);
    let json = node(dice, depth, false);
    let question = format!(
        "\"id\": \"{id}\", \"kind\": \"{kind}\", \"description\": \"random\", \"vars\": {{{}}}, \"json\": {json}{config}{host}",
        vars.join(", ")
    );
    // In Python the members of an enumeration are attributes of each of them: no text may name one by chance.
    if whom == For::Python { question.replace(RED, &RED.replace("RED", "SCARLET")) } else { question }
}

/// Expectations that are drawn again, and how often at most.
const DULL: &[&str] = &["\"error\": \"type\"", "\"error\": \"undefined\""];
const TRIES: usize = 3;

/// A file of `count` random vectors.
pub fn file(seed: u64, count: usize, whom: For) -> Result<String, String> {
    let mut dice = Dice::new(seed);
    let mut lines = Vec::new();
    for number in 0..count {
        let id = format!("rnd-{seed}-{number}");
        let mut question = ask(&mut dice, &id, whom);
        let mut expect = answer(&question)?;
        // Most random expressions fail for their types; those that say more are worth some tries.
        for _ in 0..TRIES {
            if !DULL.contains(&expect.as_str()) {
                break;
            }
            question = ask(&mut dice, &id, whom);
            expect = answer(&question)?;
        }
        lines.push(format!("  {{{question}, \"expect\": {{{expect}}}}}"));
    }
    let about = format!("Random vectors of seed {seed}. The expectation is what the core gave.");
    Ok(format!("{{\n \"format\": 1,\n \"about\": \"{about}\",\n \"vectors\": [\n{}\n ]\n}}\n", lines.join(",\n")))
}

/// What the core makes of a question.
fn answer(question: &str) -> Result<String, String> {
    let file = format!("{{\"format\": 1, \"vectors\": [{{{question}}}]}}");
    let vectors = runner::read(&file).map_err(|error| format!("{error} in {question}"))?;
    let vector: &Vector = vectors.first().ok_or("no vector")?;
    let case = Case::new(vector)?.ok_or("for another host")?;
    let outcome = if vector.kind() == "condition" {
        case.holds_inside().map(|holds| format!("\"fires\": {holds}"))
    } else {
        case.value_inside().map(|value| format!("\"value\": {}", case.world.encode(&value, false)))
    };
    Ok(outcome.unwrap_or_else(|category| format!("\"error\": \"{category}\"")))
}
