//! A document as the tests read it: what follows a marker, `<!-- marker -->`.

use std::fs;

use anyhow::{Context, Result, bail};

use crate::checkout::root;

/// One document.
pub(super) struct Page {
    path: &'static str,
    text: String,
}

impl Page {
    /// Reads a document of the repository.
    pub(super) fn read(path: &'static str) -> Result<Self> {
        let text = fs::read_to_string(root()?.join(path)).with_context(|| path.to_owned())?;
        Ok(Self { path, text })
    }

    fn after(&self, marker: &str) -> Result<&str> {
        let marker = format!("<!-- {marker} -->\n");
        let (_, after) = self.text.split_once(&marker).with_context(|| format!("no {marker} in {}", self.path))?;
        Ok(after)
    }

    /// The paragraph or table after the marker and an empty line.
    pub(super) fn section(&self, marker: &str) -> Result<&str> {
        let after = self.after(marker)?.trim_start_matches('\n');
        Ok(after.split("\n\n").next().unwrap_or_default().trim_end())
    }

    /// The cells of the table after the marker, without its head and without backticks.
    pub(super) fn table(&self, marker: &str) -> Result<Vec<Vec<String>>> {
        let rows = self.section(marker)?.lines().skip(2).map(|row| {
            let cells = row.trim_matches('|').replace("\\|", "\0");
            cells.split('|').map(|cell| cell.replace('\0', "|").replace('`', "").trim().to_owned()).collect()
        });
        Ok(rows.collect())
    }

    /// One column of that table.
    pub(super) fn column(&self, marker: &str, index: usize) -> Result<Vec<String>> {
        let rows = self.table(marker)?.into_iter();
        rows.map(|row| row.get(index).cloned().with_context(|| format!("a short row in {}", self.path))).collect()
    }

    /// The code block after the marker.
    pub(super) fn block(&self, marker: &str) -> Result<&str> {
        let (_, block) = self.after(marker)?.split_once('\n').context("a block")?;
        block.split_once("\n```").map(|(block, _)| block).with_context(|| format!("no end of {marker}"))
    }

    /// Everything before the marker.
    pub(super) fn text_before(&self, marker: &str) -> Result<&str> {
        let split = self.text.split_once(&format!("<!-- {marker} -->"));
        split.map(|(before, _)| before).with_context(|| format!("no {marker} in {}", self.path))
    }

    /// The last code block before the marker.
    pub(super) fn block_before(&self, marker: &str) -> Result<&str> {
        self.text_before(marker)?.rsplit("```").nth(1).with_context(|| format!("no block before {marker}"))
    }

    /// Fails unless the section is exactly what was `generated`; then it also brings the document up to date.
    pub(super) fn is_up_to_date(&self, marker: &str, generated: &str) -> Result<()> {
        let (written, generated) = (self.section(marker)?, generated.trim_end());
        if written == generated {
            return Ok(());
        }
        let marker = format!("<!-- {marker} -->\n\n");
        let text = self.text.replacen(&format!("{marker}{written}"), &format!("{marker}{generated}"), 1);
        fs::write(root()?.join(self.path), text)?;
        bail!("{} was out of date. It has been rewritten: look at the difference and commit it", self.path);
    }
}
