// Package plugins lists the scheduler's plugins: every one by name, with its
// factory, and the default order and weights.
package plugins

import (
	"fmt"
	"slices"

	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/plugins/balancedallocation"
	"navarch.dev/navarch/services/scheduler/plugins/defaultbinder"
	"navarch.dev/navarch/services/scheduler/plugins/imagelocality"
	"navarch.dev/navarch/services/scheduler/plugins/interpodaffinity"
	"navarch.dev/navarch/services/scheduler/plugins/nodeaffinity"
	"navarch.dev/navarch/services/scheduler/plugins/nodename"
	"navarch.dev/navarch/services/scheduler/plugins/nodeports"
	"navarch.dev/navarch/services/scheduler/plugins/noderesources"
	"navarch.dev/navarch/services/scheduler/plugins/nodeunschedulable"
	"navarch.dev/navarch/services/scheduler/plugins/preemption"
	"navarch.dev/navarch/services/scheduler/plugins/prioritysort"
	"navarch.dev/navarch/services/scheduler/plugins/schedulinggates"
	"navarch.dev/navarch/services/scheduler/plugins/tainttoleration"
	"navarch.dev/navarch/services/scheduler/plugins/topologyspread"
	"navarch.dev/navarch/services/scheduler/plugins/volumebinding"
	"navarch.dev/navarch/services/scheduler/plugins/volumerestrictions"
	"navarch.dev/navarch/services/scheduler/plugins/volumezone"
	"navarch.dev/navarch/services/scheduler/snapshot"
	"navarch.dev/navarch/services/scheduler/storage"
)

// Environment is what plugins may need from outside.
type Environment struct {
	// Binder is the Store's Bind call.
	Binder defaultbinder.Binder
	// Namespaces returns a namespace's labels.
	Namespaces snapshot.NamespaceLabels
	// Preemption ends pods.
	Preemption preemption.Cluster
	// Storage shows and binds claims and volumes.
	Storage storage.Cluster
}

// Factory makes a plugin.
type Factory func(env Environment) framework.Plugin

// Factories returns every plugin's factory by its name.
func Factories() map[string]Factory {
	return map[string]Factory{
		prioritysort.Name:       func(Environment) framework.Plugin { return prioritysort.New() },
		schedulinggates.Name:    func(Environment) framework.Plugin { return schedulinggates.New() },
		nodeunschedulable.Name:  func(Environment) framework.Plugin { return nodeunschedulable.New() },
		nodename.Name:           func(Environment) framework.Plugin { return nodename.New() },
		tainttoleration.Name:    func(Environment) framework.Plugin { return tainttoleration.New() },
		nodeaffinity.Name:       func(Environment) framework.Plugin { return nodeaffinity.New() },
		nodeports.Name:          func(Environment) framework.Plugin { return nodeports.New() },
		noderesources.Name:      func(Environment) framework.Plugin { return noderesources.New(noderesources.DefaultArgs()) },
		volumerestrictions.Name: func(env Environment) framework.Plugin { return volumerestrictions.New(env.Storage) },
		volumebinding.Name:      func(env Environment) framework.Plugin { return volumebinding.New(env.Storage) },
		volumezone.Name:         func(env Environment) framework.Plugin { return volumezone.New(env.Storage) },
		topologyspread.Name:     func(Environment) framework.Plugin { return topologyspread.New() },
		interpodaffinity.Name:   func(env Environment) framework.Plugin { return interpodaffinity.New(env.Namespaces) },
		preemption.Name:         func(env Environment) framework.Plugin { return preemption.New(env.Preemption) },
		balancedallocation.Name: func(Environment) framework.Plugin { return balancedallocation.New(balancedallocation.DefaultArgs()) },
		imagelocality.Name:      func(Environment) framework.Plugin { return imagelocality.New() },
		defaultbinder.Name:      func(env Environment) framework.Plugin { return defaultbinder.New(env.Binder) },
	}
}

// Enabled is a plugin in a profile.
type Enabled struct {
	Name   string
	Weight int64
}

// Defaults returns the plugins of the default profile in their order, with
// the weights of kube-scheduler's.
func Defaults() []Enabled {
	return []Enabled{
		{Name: prioritysort.Name},
		{Name: schedulinggates.Name},
		{Name: nodeunschedulable.Name},
		{Name: nodename.Name},
		{Name: tainttoleration.Name, Weight: 3},
		{Name: nodeaffinity.Name, Weight: 2},
		{Name: nodeports.Name},
		{Name: noderesources.Name, Weight: 1},
		{Name: volumerestrictions.Name},
		{Name: volumebinding.Name},
		{Name: volumezone.Name},
		{Name: topologyspread.Name, Weight: 2},
		{Name: interpodaffinity.Name, Weight: 2},
		{Name: preemption.Name},
		{Name: balancedallocation.Name, Weight: 1},
		{Name: imagelocality.Name, Weight: 1},
		{Name: defaultbinder.Name},
	}
}

// Profile makes the default profile without the plugins named in disabled.
func Profile(env Environment, disabled []string) (*framework.Profile, error) {
	factories := Factories()
	for _, name := range disabled {
		if _, ok := factories[name]; !ok {
			return nil, fmt.Errorf("there is no scheduler plugin %q", name)
		}
	}
	var out []framework.Weighted
	for _, e := range Defaults() {
		if !slices.Contains(disabled, e.Name) {
			out = append(out, framework.Weighted{Plugin: factories[e.Name](env), Weight: e.Weight})
		}
	}
	return framework.NewProfile(out)
}

// Required returns the plugins without which nothing can be scheduled.
func Required() []string { return []string{prioritysort.Name, defaultbinder.Name} }
