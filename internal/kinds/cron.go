package kinds

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// cronField is one of the five fields of a cron schedule.
type cronField struct {
	min, max int
	names    string
}

func cronFields() []cronField {
	return []cronField{
		{max: 59},
		{max: 23},
		{min: 1, max: 31},
		{min: 1, max: 12, names: "jan feb mar apr may jun jul aug sep oct nov dec"},
		{max: 6, names: "sun mon tue wed thu fri sat"},
	}
}

// checkCron returns what is wrong with a cron schedule: five fields, or one of
// the words that stand for them.
func checkCron(schedule string) error {
	if strings.HasPrefix(schedule, "@") {
		return checkCronWord(schedule)
	}
	parts := strings.Fields(schedule)
	fields := cronFields()
	if len(parts) != len(fields) {
		return fmt.Errorf("expected exactly %d fields, found %d: %s", len(fields), len(parts), parts)
	}
	for i, f := range fields {
		for item := range strings.SplitSeq(parts[i], ",") {
			if item == "" {
				continue
			}
			if err := f.check(item); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkCronWord(word string) error {
	switch word {
	case "@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly":
		return nil
	}
	if every, ok := strings.CutPrefix(word, "@every "); ok {
		if _, err := time.ParseDuration(every); err != nil {
			return fmt.Errorf("failed to parse duration %s: %w", word, err)
		}
		return nil
	}
	return fmt.Errorf("unrecognized descriptor: %s", word)
}

// check returns what is wrong with an item of a field: "*", "5", "mon-fri",
// "*/15" or "10-50/5".
func (f cronField) check(item string) error {
	span, step, stepped := strings.Cut(item, "/")
	from, to, isRange := strings.Cut(span, "-")
	low, high := f.min, f.max
	var err error
	switch {
	case strings.Contains(to, "-"):
		return fmt.Errorf("too many hyphens: %s", item)
	case from == "*" || from == "?":
	default:
		if low, err = f.value(from); err != nil {
			return err
		}
		if !isRange && !stepped {
			high = low
		}
		if isRange {
			if high, err = f.value(to); err != nil {
				return err
			}
		}
	}
	if err := checkCronStep(step, stepped, item); err != nil {
		return err
	}
	switch {
	case low < f.min:
		return fmt.Errorf("beginning of range (%d) below minimum (%d): %s", low, f.min, item)
	case high > f.max:
		return fmt.Errorf("end of range (%d) above maximum (%d): %s", high, f.max, item)
	case low > high:
		return fmt.Errorf("beginning of range (%d) beyond end of range (%d): %s", low, high, item)
	}
	return nil
}

func checkCronStep(step string, stepped bool, item string) error {
	if !stepped {
		return nil
	}
	if strings.Contains(step, "/") {
		return fmt.Errorf("too many slashes: %s", item)
	}
	n, err := parseCronNumber(step)
	if err == nil && n == 0 {
		err = fmt.Errorf("step of range should be a positive number: %s", item)
	}
	return err
}

func (f cronField) value(s string) (int, error) {
	for i, name := range strings.Fields(f.names) {
		if strings.EqualFold(s, name) {
			return i + f.min, nil
		}
	}
	return parseCronNumber(s)
}

func parseCronNumber(s string) (int, error) {
	n, err := strconv.Atoi(s)
	switch {
	case err != nil:
		return 0, fmt.Errorf("failed to parse int from %s: %w", s, err)
	case n < 0:
		return 0, fmt.Errorf("negative number (%d) not allowed: %s", n, s)
	}
	return n, nil
}
