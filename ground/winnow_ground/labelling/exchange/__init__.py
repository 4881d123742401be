"""Labels in the forms of others: CSV, COCO, Label Studio's JSON, a folder per class."""
