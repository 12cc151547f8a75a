"""SAM 3 as a prompter of concepts: phrases and boxes → what an image shows of them; no labels."""
