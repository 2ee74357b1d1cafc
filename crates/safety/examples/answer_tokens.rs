//! Writes the words of the texts on standard input, one text a line (`\n` for a line break), as the screen's model reads
//! them: words set apart by blanks, sentences by tabs. For `scripts/train-answers`.

use std::io::{self, BufRead, Write};

fn main() -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    for line in io::stdin().lock().lines() {
        let sentences = safety::screen::sentences(&line?.replace("\\n", "\n"));
        let sentences: Vec<String> = sentences.iter().map(|words| words.join(" ")).collect();
        writeln!(out, "{}", sentences.join("\t"))?;
    }
    out.flush()
}
