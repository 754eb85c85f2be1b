package kinds

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// cronField is one of the five fields of a cron schedule.
type cronField struct {
	name     string
	min, max int
	names    string
}

func cronFields() []cronField {
	return []cronField{
		{name: "minute", max: 59},
		{name: "hour", max: 23},
		{name: "day of month", min: 1, max: 31},
		{name: "month", min: 1, max: 12, names: "jan feb mar apr may jun jul aug sep oct nov dec"},
		{name: "day of week", max: 7, names: "sun mon tue wed thu fri sat"},
	}
}

// checkCron returns what is wrong with a cron schedule: five fields, or one of
// the words that stand for them.
func checkCron(schedule string) error {
	switch word, rest, _ := strings.Cut(schedule, " "); word {
	case "@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly":
		return nil
	case "@every":
		if d, err := time.ParseDuration(rest); err != nil || d <= 0 {
			return fmt.Errorf("failed to parse duration %q", rest)
		}
		return nil
	}
	parts := strings.Fields(schedule)
	fields := cronFields()
	if len(parts) != len(fields) {
		return fmt.Errorf("expected exactly %d fields, found %d: %s", len(fields), len(parts), schedule)
	}
	for i, f := range fields {
		for item := range strings.SplitSeq(parts[i], ",") {
			if err := f.check(item); err != nil {
				return fmt.Errorf("%s %q: %w", f.name, item, err)
			}
		}
	}
	return nil
}

// check returns what is wrong with an item of a field: "*", "5", "mon-fri",
// "*/15" or "10-50/5".
func (f cronField) check(item string) error {
	span, step, stepped := strings.Cut(item, "/")
	if stepped {
		if n, err := strconv.Atoi(step); err != nil || n < 1 {
			return errors.New("the step must be a number above 0")
		}
	}
	if span == "*" || span == "?" {
		return nil
	}
	from, to, isRange := strings.Cut(span, "-")
	low, err := f.value(from)
	if err != nil || !isRange {
		return err
	}
	high, err := f.value(to)
	if err == nil && high < low {
		err = errors.New("the range ends before it begins")
	}
	return err
}

func (f cronField) value(s string) (int, error) {
	for i, name := range strings.Fields(f.names) {
		if strings.EqualFold(s, name) {
			return i + f.min, nil
		}
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0, errors.New("it is not a number")
	}
	if n < f.min || n > f.max {
		return 0, fmt.Errorf("it is not between %d and %d", f.min, f.max)
	}
	return n, nil
}
