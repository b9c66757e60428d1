//! The page of the tour: plain HTML with its style inside and its pictures beside it.

use std::fmt::Write as _;
use std::time::Duration;

/// Pictures that belong together, and the text below them.
pub(super) struct Figure {
    /// Places of the pictures, seen from the page.
    pub(super) pictures: Vec<String>,
    /// Prompt or caption.
    pub(super) text: String,
}

/// A page that grows section by section.
pub(super) struct Page {
    html: String,
}

const STYLE: &str = "\
body{font:16px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}\
h1{margin:3rem 0 0}h2{margin:2rem 0 .2rem}code{background:#f2f2f2;padding:.1em .4em;border-radius:.3em}\
.row{display:flex;flex-wrap:wrap;gap:1rem;margin-top:.8rem}figure{margin:0;max-width:15rem}\
img{width:7rem;height:7rem;image-rendering:pixelated;border:1px solid #ddd;border-radius:.3rem;margin-right:.2rem}\
figcaption{font-size:.9rem}footer{margin-top:3rem;font-size:.85rem;color:#555}\
@media(prefers-color-scheme:dark){body{background:#181818;color:#ddd}code{background:#2c2c2c}}";

impl Page {
    /// A page about a model.
    pub(super) fn new(model: &str, parameters: usize, seed: Option<u64>) -> Self {
        let mut html = String::new();
        let model = escape(model);
        let _ = write!(
            html,
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n<title>Trefoil: {model}</title>\n\
             <style>{STYLE}</style>\n</head>\n<body>\n<h1>Trefoil</h1>\n\
             <p>One network, every distribution of pictures and text: what <code>{model}</code> \
             ({:.1} million parameters) makes of each. Seed {}.</p>\n",
            parameters as f64 / 1e6,
            seed.map_or_else(|| "random".to_string(), |seed| seed.to_string()),
        );
        Self { html }
    }

    /// Begins another subject.
    pub(super) fn chapter(&mut self, title: &str, text: &str) {
        let (title, text) = (escape(title), escape(text));
        let _ = writeln!(self.html, "<h1>{title}</h1>\n<p>{text}</p>");
    }

    /// Adds a section: what was done, the command that does it, what came out.
    pub(super) fn section(&mut self, title: &str, command: &str, figures: Vec<Figure>) {
        let _ = write!(
            self.html,
            "<h2>{}</h2>\n<code>{}</code>\n<div class=\"row\">\n",
            escape(title),
            escape(command)
        );
        for figure in figures {
            let text = escape(&figure.text);
            self.html.push_str("<figure>");
            for picture in &figure.pictures {
                let _ = write!(self.html, "<img src=\"{}\" alt=\"{text}\">", escape(picture));
            }
            let _ = writeln!(self.html, "<figcaption>{text}</figcaption></figure>");
        }
        self.html.push_str("</div>\n");
    }

    /// The whole page.
    pub(super) fn finish(mut self, time: Duration) -> String {
        let _ = write!(
            self.html,
            "<footer>Made by <code>trefoil tour</code> in {:.0} seconds. Each picture carries its settings: \
             <code>trefoil inspect FILE</code> prints them and <code>trefoil generate --from FILE</code> \
             draws it again.</footer>\n</body>\n</html>\n",
            time.as_secs_f64()
        );
        self.html
    }
}

/// Text as HTML shows it.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captions_cannot_break_the_page() {
        let mut page = Page::new("a<b", 1_500_000, Some(7));
        let figure = Figure { pictures: vec!["p.png".into()], text: "\"><script>".into() };
        page.section("T", "trefoil x", vec![figure]);
        let html = page.finish(Duration::from_secs(3));
        assert!(!html.contains("<script>") && html.contains("&quot;&gt;&lt;script&gt;"));
        assert!(
            html.contains("a&lt;b") && html.contains("1.5 million") && html.contains("Seed 7.")
        );
        assert!(!html.contains("http"), "the page must work offline");
    }
}
