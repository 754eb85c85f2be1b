// Package plugins lists the scheduler's plugins: every one by name, how it is
// made and configured, and the default order and weights. It makes profiles of
// what configurations say.
//
//	plugins.go  the list
//	args.go     what plugins can be told
//	arrange.go  which of them run where
//	profile.go  a profile of both
package plugins

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"navarch.dev/navarch/services/scheduler/devices"
	"navarch.dev/navarch/services/scheduler/extender"
	"navarch.dev/navarch/services/scheduler/framework"
	"navarch.dev/navarch/services/scheduler/plugins/balancedallocation"
	"navarch.dev/navarch/services/scheduler/plugins/defaultbinder"
	"navarch.dev/navarch/services/scheduler/plugins/dynamicresources"
	"navarch.dev/navarch/services/scheduler/plugins/imagelocality"
	"navarch.dev/navarch/services/scheduler/plugins/interpodaffinity"
	"navarch.dev/navarch/services/scheduler/plugins/nodeaffinity"
	"navarch.dev/navarch/services/scheduler/plugins/nodename"
	"navarch.dev/navarch/services/scheduler/plugins/nodeports"
	"navarch.dev/navarch/services/scheduler/plugins/noderesources"
	"navarch.dev/navarch/services/scheduler/plugins/nodeunschedulable"
	"navarch.dev/navarch/services/scheduler/plugins/nodevolumelimits"
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

// Environment is what plugins may need from outside. The plugins of all
// profiles of a scheduler are given the same.
type Environment struct {
	// Binder is the Store's Bind call.
	Binder defaultbinder.Binder
	// Namespaces returns a namespace's labels.
	Namespaces snapshot.NamespaceLabels
	// Groups tells which pods belong together.
	Groups topologyspread.Groups
	// Preemption ends pods.
	Preemption preemption.Cluster
	// Storage shows and binds claims and volumes; Volumes are those that are
	// being bound.
	Storage storage.Cluster
	Volumes *volumebinding.Reservations
	// Extenders are asked beside the plugins; nil is none.
	Extenders *extender.Set
	// Devices shows and binds claims of devices; Claims are those that are being
	// bound.
	Devices dynamicresources.Cluster
	Claims  *dynamicresources.Ledger
	// Events tells users what happens to a pod.
	Events func(pod *corev1.Pod, eventType, reason, message string)
}

// standsForResource says whether devices stand for an extended resource.
func (env *Environment) standsForResource(name corev1.ResourceName) bool {
	return env.Devices != nil && env.Devices.Resources()[name] != nil
}

// stock counts the devices that stand for some of the resources.
func (env *Environment) stock(names []corev1.ResourceName) *devices.Stock {
	if env.Devices == nil {
		return nil
	}
	return dynamicresources.Stock(env.Devices, env.Claims, names)
}

// Registry returns every plugin by its name.
func Registry() map[string]Entry {
	return map[string]Entry{
		prioritysort.Name:       plain(func(Environment) framework.Plugin { return prioritysort.New() }),
		schedulinggates.Name:    plain(func(Environment) framework.Plugin { return schedulinggates.New() }),
		nodeunschedulable.Name:  plain(func(Environment) framework.Plugin { return nodeunschedulable.New() }),
		nodename.Name:           plain(func(Environment) framework.Plugin { return nodename.New() }),
		tainttoleration.Name:    plain(func(Environment) framework.Plugin { return tainttoleration.New() }),
		nodeports.Name:          plain(func(Environment) framework.Plugin { return nodeports.New() }),
		volumerestrictions.Name: plain(func(env Environment) framework.Plugin { return volumerestrictions.New(env.Storage) }),
		nodevolumelimits.Name:   plain(func(env Environment) framework.Plugin { return nodevolumelimits.New(env.Storage) }),
		volumezone.Name:         plain(func(env Environment) framework.Plugin { return volumezone.New(env.Storage) }),
		imagelocality.Name:      plain(func(Environment) framework.Plugin { return imagelocality.New() }),
		defaultbinder.Name:      plain(func(env Environment) framework.Plugin { return defaultbinder.New(env.Binder) }),
		nodeaffinity.Name:       nodeAffinity(),
		noderesources.Name:      nodeResourcesFit(),
		volumebinding.Name:      volumeBinding(),
		dynamicresources.Name:   dynamicResources(),
		topologyspread.Name:     podTopologySpread(),
		interpodaffinity.Name:   interPodAffinity(),
		preemption.Name:         defaultPreemption(),
		balancedallocation.Name: balancedAllocation(),
	}
}

// Names returns the names of all plugins, sorted.
func Names() []string { return slices.Sorted(maps.Keys(Registry())) }

// Enabled is a plugin in a profile.
type Enabled struct {
	Name string
	// Weight is what its scores count.
	Weight int64
}

// Defaults returns the plugins of the default profile in their order, with
// the weights of kube-scheduler's. Each runs wherever it can.
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
		{Name: nodevolumelimits.Name},
		{Name: volumebinding.Name, Weight: 1},
		{Name: volumezone.Name},
		{Name: topologyspread.Name, Weight: 2},
		{Name: interpodaffinity.Name, Weight: 2},
		{Name: dynamicresources.Name, Weight: 2},
		{Name: preemption.Name},
		{Name: balancedallocation.Name, Weight: 1},
		{Name: imagelocality.Name, Weight: 1},
		{Name: defaultbinder.Name},
	}
}

// Required returns the plugins without which nothing can be scheduled.
func Required() []string { return []string{prioritysort.Name, defaultbinder.Name} }
