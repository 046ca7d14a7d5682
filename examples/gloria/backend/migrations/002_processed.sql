ALTER TABLE messages ADD COLUMN processed_at timestamptz;
