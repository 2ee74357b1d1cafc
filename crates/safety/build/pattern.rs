//! Patterns: parsing, and their position automata (Glushkov).

use crate::tables::{Anchor, Symbol, Test};

/// Longest pattern, in tokens: starts of matches are kept as bits of a word.
const MAX_LENGTH: usize = 60;

/// Parsed pattern.
#[derive(Debug)]
pub(crate) struct Pattern {
    node: Node,
    at_start: Anchor,
    at_end: Anchor,
}

#[derive(Debug)]
enum Node {
    Position(Symbol, Test),
    Sequence(Vec<Node>),
    Either(Vec<Node>),
    Optional(Box<Node>),
}

/// A position of a pattern (Glushkov).
#[derive(Debug)]
pub(crate) struct Position {
    pub symbol: Symbol,
    pub test: Test,
    /// Anchor of the pattern, if it begins here.
    pub at_start: Option<Anchor>,
    /// Anchor of the pattern, if it ends here.
    pub ends: Option<Anchor>,
    /// The positions before it.
    pub before: Vec<usize>,
}

/// A way in which a pattern may begin.
#[derive(Debug)]
pub(crate) struct Opening {
    pub first: (Symbol, Test),
    /// The pattern may end there.
    pub is_whole: bool,
    pub seconds: Vec<(Symbol, Test)>,
}

/// Finds the symbol of a word or a name.
pub(crate) type Resolve<'a> = dyn FnMut(&str) -> Result<(Symbol, Test), String> + 'a;

impl Pattern {
    pub(crate) fn parse(text: &str, resolve: &mut Resolve<'_>) -> Result<Self, String> {
        let spaced = text.replace('(', " ( ").replace(')', " ) ").replace('|', " | ").replace(" ) ?", " )?");
        // `)?` was taken apart by the spaces around the bracket.
        let spaced = spaced.replace(")  ?", ")?").replace(") ?", ")?");
        let mut words: Vec<&str> = spaced.split_whitespace().collect();
        let at_start = anchor(words.first(), "<");
        let at_end = anchor(words.last(), ">");
        words = words.into_iter().skip(usize::from(at_start != Anchor::Nowhere)).collect();
        words.truncate(words.len() - usize::from(at_end != Anchor::Nowhere && !words.is_empty()));
        let mut parser = Parser { words: &words, resolve };
        let node = parser.either()?;
        if !parser.words.is_empty() {
            return Err("a bracket is closed that was not opened".into());
        }
        let pattern = Self { node, at_start, at_end };
        if pattern.node.nullable() {
            return Err("the pattern matches nothing at all".into());
        }
        if pattern.node.longest() > MAX_LENGTH {
            return Err(format!("the pattern is longer than {MAX_LENGTH} tokens"));
        }
        Ok(pattern)
    }

    /// Returns the positions of the pattern; the positions before one precede it in the list.
    pub(crate) fn places(&self) -> Vec<Position> {
        let mut places = Places::default();
        let ends = places.add(&self.node);
        let mut found: Vec<Position> = Vec::new();
        for (&(symbol, test), number) in places.tests.iter().zip(0_u32..) {
            let at_start = ends.first.contains(&number).then_some(self.at_start);
            let before = (0..found.len()).filter(|before| places.follow[*before].contains(&number)).collect();
            let ends = ends.last.contains(&number).then_some(self.at_end);
            found.push(Position { symbol, test, at_start, ends, before });
        }
        found
    }

    /// Returns the ways in which the pattern may begin.
    pub(crate) fn openings(&self) -> Vec<Opening> {
        let mut places = Places::default();
        let ends = places.add(&self.node);
        let opening = |first: &u32| {
            let follow = usize::try_from(*first).ok().and_then(|at| places.follow.get(at)).into_iter().flatten();
            Opening {
                first: places.test(*first),
                is_whole: ends.last.contains(first),
                seconds: follow.map(|next| places.test(*next)).collect(),
            }
        };
        ends.first.iter().map(opening).collect()
    }

    /// Returns `true` if the pattern may begin with any token: it would start everywhere.
    pub(crate) fn starts_anywhere(&self) -> bool {
        let mut places = Places::default();
        let ends = places.add(&self.node);
        ends.first
            .iter()
            .any(|first| matches!(places.test(*first).1, Test::Any | Test::Anything | Test::Not | Test::End))
    }
}

/// Reads `<` and `<<`, or `>` and `>>`.
fn anchor(word: Option<&&str>, sign: &str) -> Anchor {
    match word.and_then(|word| word.strip_prefix(sign)) {
        Some("") => Anchor::Clause,
        Some(rest) if rest == sign => Anchor::Message,
        _ => Anchor::Nowhere,
    }
}

struct Parser<'a, 'b> {
    words: &'a [&'a str],
    resolve: &'a mut Resolve<'b>,
}

impl Parser<'_, '_> {
    fn either(&mut self) -> Result<Node, String> {
        let mut branches = vec![self.sequence()?];
        while self.words.first() == Some(&"|") {
            self.words = &self.words[1..];
            branches.push(self.sequence()?);
        }
        Ok(if branches.len() == 1 { branches.remove(0) } else { Node::Either(branches) })
    }

    fn sequence(&mut self) -> Result<Node, String> {
        let mut parts = Vec::new();
        while let Some(&word) = self.words.first() {
            if matches!(word, "|" | ")" | ")?") {
                break;
            }
            self.words = &self.words[1..];
            parts.push(self.part(word)?);
        }
        if parts.is_empty() { Err("an empty sequence".into()) } else { Ok(Node::Sequence(parts)) }
    }

    fn part(&mut self, word: &str) -> Result<Node, String> {
        if word == "(" {
            let inner = self.either()?;
            let close = self.words.first().copied().ok_or("a bracket is not closed")?;
            self.words = &self.words[1..];
            return Ok(if close == ")?" { Node::Optional(Box::new(inner)) } else { inner });
        }
        if let Some(count) = word.strip_prefix("..") {
            let (count, test) = match count.strip_suffix(',') {
                Some(count) => (count, Test::Anything),
                None => (count, Test::Any),
            };
            let count: usize = count.parse().map_err(|_| format!("{word} is no gap"))?;
            return if (1..=12).contains(&count) {
                Ok(gap(count, test))
            } else {
                Err(format!("{word}: 1 to 12 words"))
            };
        }
        if let Some(name) = word.strip_suffix('?') {
            return Ok(Node::Optional(Box::new(self.place(name)?)));
        }
        self.place(word)
    }

    fn place(&mut self, word: &str) -> Result<Node, String> {
        if word == ">" {
            return Ok(Node::Position(0, Test::End));
        }
        if matches!(word, "<" | "<<" | ">>") {
            return Err(format!("{word} stands inside of the pattern"));
        }
        if let Some(name) = word.strip_prefix('!') {
            let (symbol, test) = (self.resolve)(name)?;
            return if test == Test::Has {
                Ok(Node::Position(symbol, Test::Not))
            } else {
                Err(format!("!{name}: only a word or a class can be excluded"))
            };
        }
        let (symbol, test) = (self.resolve)(word)?;
        Ok(Node::Position(symbol, test))
    }
}

/// `..3` as `(any (any any?)?)?`: one live state at a time.
fn gap(count: usize, test: Test) -> Node {
    let any = || Node::Position(0, test);
    let mut node = Node::Optional(Box::new(any()));
    for _ in 1..count {
        node = Node::Optional(Box::new(Node::Sequence(vec![any(), node])));
    }
    node
}

impl Node {
    fn nullable(&self) -> bool {
        match self {
            Self::Position(..) => false,
            Self::Sequence(parts) => parts.iter().all(Self::nullable),
            Self::Either(branches) => branches.iter().any(Self::nullable),
            Self::Optional(_) => true,
        }
    }

    fn longest(&self) -> usize {
        match self {
            Self::Position(..) => 1,
            Self::Sequence(parts) => parts.iter().map(Self::longest).sum(),
            Self::Either(branches) => branches.iter().map(Self::longest).max().unwrap_or(0),
            Self::Optional(inner) => inner.longest(),
        }
    }
}

#[derive(Debug, Default)]
struct Places {
    tests: Vec<(Symbol, Test)>,
    follow: Vec<Vec<u32>>,
}

#[derive(Debug, Default, Clone)]
struct Ends {
    first: Vec<u32>,
    last: Vec<u32>,
    nullable: bool,
}

impl Places {
    fn test(&self, place: u32) -> (Symbol, Test) {
        usize::try_from(place).ok().and_then(|at| self.tests.get(at)).copied().unwrap_or_default()
    }

    fn add(&mut self, node: &Node) -> Ends {
        match node {
            Node::Position(symbol, test) => {
                let place = u32::try_from(self.tests.len()).unwrap_or(u32::MAX);
                self.tests.push((*symbol, *test));
                self.follow.push(Vec::new());
                Ends { first: vec![place], last: vec![place], nullable: false }
            }
            Node::Optional(inner) => Ends { nullable: true, ..self.add(inner) },
            Node::Either(branches) => branches.iter().fold(Ends::default(), |mut all, branch| {
                let ends = self.add(branch);
                all.first.extend(ends.first);
                all.last.extend(ends.last);
                all.nullable |= ends.nullable;
                all
            }),
            Node::Sequence(parts) => {
                let mut all = Ends { nullable: true, ..Ends::default() };
                for part in parts {
                    let ends = self.add(part);
                    self.join(&all.last, &ends.first);
                    if all.nullable {
                        all.first.extend(&ends.first);
                    }
                    if ends.nullable {
                        all.last.extend(&ends.last);
                    } else {
                        all.last = ends.last;
                    }
                    all.nullable &= ends.nullable;
                }
                all
            }
        }
    }

    fn join(&mut self, last: &[u32], first: &[u32]) {
        for place in last {
            if let Some(follow) = usize::try_from(*place).ok().and_then(|at| self.follow.get_mut(at)) {
                follow.extend(first.iter().filter(|next| !follow.contains(next)).copied().collect::<Vec<_>>());
            }
        }
    }
}
