package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/grpc"
	configv1 "k8s.io/kube-scheduler/config/v1"

	"navarch.dev/navarch/internal/telemetry"
	"navarch.dev/navarch/services/scheduler"
	"navarch.dev/navarch/services/scheduler/configuration"
)

const schedulerConfigFlag = "scheduler-config"

// schedulerSettings are the scheduler's settings, with the file that holds its
// profiles.
type schedulerSettings struct {
	scheduler.Config
	file string
	// given says whether a flag of Config has been.
	given func(flag string) bool
}

// AddFlags implements settings.
func (s *schedulerSettings) AddFlags(fs *pflag.FlagSet) {
	s.Config.AddFlags(fs)
	s.addFile(fs, fs.Changed)
}

// addFile adds the flag of the file. given says whether a flag of Config, which
// may be known by another name, has been.
func (s *schedulerSettings) addFile(fs *pflag.FlagSet, given func(flag string) bool) {
	s.given = given
	addSchedulerConfigFlag(fs, &s.file)
}

func addSchedulerConfigFlag(fs *pflag.FlagSet, file *string) {
	fs.StringVar(file, schedulerConfigFlag, "", "file of a Kubernetes KubeSchedulerConfiguration: profiles, plugins and their arguments")
	fs.Lookup(schedulerConfigFlag).Annotations = map[string][]string{kindAnnotation: {configuration.Kind}}
}

// Validate implements settings: it reads the file, whose fields are settings
// like others.
func (s *schedulerSettings) Validate() error {
	if s.file != "" {
		config, idle, err := readSchedulerConfig(s.file)
		if err != nil {
			return err
		}
		s.Idle = idle
		if err := s.Adopt(config, s.given); err != nil {
			return err
		}
	}
	return s.Config.Validate()
}

func readSchedulerConfig(file string) (config *configv1.KubeSchedulerConfiguration, idle []string, err error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", schedulerConfigFlag, err)
	}
	if config, idle, err = configuration.Parse(data); err != nil {
		return nil, nil, fmt.Errorf("%s %s: %w", schedulerConfigFlag, file, err)
	}
	return config, idle, nil
}

func newSchedulerCommand() *cobra.Command {
	settings := &schedulerSettings{Config: scheduler.DefaultConfig()}
	settings.LeaderElect, settings.Identity = true, hostIdentity("scheduler")
	return storeClient{
		name: "scheduler", short: "Run a Scheduler", defaultListen: "127.0.0.1:10259",
		settings: settings,
		make: func(_ *process, tel telemetry.Set, conn grpc.ClientConnInterface) (component, error) {
			return scheduler.New(settings.Config, tel, conn)
		},
	}.command()
}

// hostIdentity names this instance of a service in elections: stable over
// restarts, one per host.
func hostIdentity(service string) string {
	if host, err := os.Hostname(); err == nil {
		return host
	}
	return service
}
