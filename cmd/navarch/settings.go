package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"sigs.k8s.io/yaml"
)

// Every flag can also be set by a variable NAVARCH_<FLAG>, with dashes as
// underscores, and in a YAML file of flag: value named by --config. A flag
// wins over a variable, a variable over the file, the file over the default.
//
// Where the file is a Kubernetes object of a kind that one of the flags takes,
// --config stands for that flag.

const (
	environmentPrefix = "NAVARCH_"
	configFlag        = "config"
	// kindAnnotation on a flag has the kind of object that it names a file of.
	kindAnnotation = "navarch.dev/kind"
)

// addConfigFlag adds --config.
func addConfigFlag(fs *pflag.FlagSet) {
	fs.String(configFlag, "", "YAML file of settings, flag: value")
}

// applySettings fills the flags that the command line leaves out.
func applySettings(fs *pflag.FlagSet) error {
	var errs []error
	fs.VisitAll(func(f *pflag.Flag) {
		if f.Changed {
			return
		}
		name := environmentName(f.Name)
		if value, ok := os.LookupEnv(name); ok {
			if err := fs.Set(f.Name, value); err != nil {
				errs = append(errs, usageError{fmt.Errorf("variable %s: %w", name, err)})
			}
		}
	})
	if err := errors.Join(errs...); err != nil {
		return err
	}
	f := fs.Lookup(configFlag)
	if f == nil || f.Value.String() == "" {
		return nil
	}
	return applyFile(fs, f.Value.String())
}

func environmentName(flag string) string {
	return environmentPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

func applyFile(fs *pflag.FlagSet, path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read the settings: %w", err)
	}
	var settings map[string]any
	if err := yaml.Unmarshal(data, &settings); err != nil {
		return usageError{fmt.Errorf("settings in %s: must be YAML of flag: value: %w", path, err)}
	}
	if f := flagForKind(fs, settings["kind"]); f != nil && settings["apiVersion"] != nil {
		if f.Changed {
			return usageError{fmt.Errorf("--%s and --%s both name a %v", configFlag, f.Name, settings["kind"])}
		}
		return fs.Set(f.Name, path)
	}
	for name, value := range settings {
		f := fs.Lookup(name)
		if f == nil || name == configFlag {
			return usageError{fmt.Errorf("settings in %s: unknown flag %q (have %s)", path, name, flagNames(fs))}
		}
		if f.Changed {
			continue
		}
		if err := set(fs, f, value); err != nil {
			return usageError{fmt.Errorf("settings in %s: %s: %w", path, name, err)}
		}
	}
	return nil
}

// flagForKind returns the flag that names a file of a kind of object, nil if
// there is none.
func flagForKind(fs *pflag.FlagSet, kind any) *pflag.Flag {
	var found *pflag.Flag
	fs.VisitAll(func(f *pflag.Flag) {
		if kinds := f.Annotations[kindAnnotation]; len(kinds) == 1 && kinds[0] == kind {
			found = f
		}
	})
	return found
}

// set gives a flag a YAML value. A list is taken item by item where the flag
// is one, since not all kinds of lists are split at commas.
func set(fs *pflag.FlagSet, f *pflag.Flag, value any) error {
	list, isList := value.([]any)
	flag, ok := f.Value.(pflag.SliceValue)
	if !isList || !ok {
		return fs.Set(f.Name, settingText(value))
	}
	items := make([]string, len(list))
	for i, v := range list {
		items[i] = fmt.Sprint(v)
	}
	if err := flag.Replace(items); err != nil {
		return fmt.Errorf("%q: %w", items, err)
	}
	f.Changed = true
	return nil
}

// settingText turns a YAML value into what the flag would be given.
func settingText(value any) string {
	list, ok := value.([]any)
	if !ok {
		return fmt.Sprint(value)
	}
	texts := make([]string, len(list))
	for i, v := range list {
		texts[i] = fmt.Sprint(v)
	}
	return strings.Join(texts, ",")
}

func flagNames(fs *pflag.FlagSet) string {
	var names []string
	fs.VisitAll(func(f *pflag.Flag) {
		if !f.Hidden && f.Name != configFlag && f.Name != "help" {
			names = append(names, f.Name)
		}
	})
	slices.Sort(names)
	return strings.Join(names, ", ")
}
