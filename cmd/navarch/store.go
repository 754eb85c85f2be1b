package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"navarch.dev/navarch/internal/audit"
	"navarch.dev/navarch/internal/rpc"
	"navarch.dev/navarch/internal/telemetry"
	"navarch.dev/navarch/internal/tracing"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	"navarch.dev/navarch/services/store"
	"navarch.dev/navarch/services/store/auth"
	"navarch.dev/navarch/services/store/auth/token"
	"navarch.dev/navarch/services/store/backend/etcd"
	"navarch.dev/navarch/services/store/calls"
)

// storeSettings are the Store's settings and those of what it keeps its data
// in.
type storeSettings struct {
	store.Config
	etcd etcd.Config
	auth auth.Config
	// keyFiles hold the keys of service accounts' tokens: the first signs, all
	// verify.
	keyFiles []string
	// staticTokenFile knows fixed tokens.
	staticTokenFile string
	// listen is where the Store is served.
	listen string
}

func newStoreSettings() *storeSettings {
	return &storeSettings{Config: store.DefaultConfig(), etcd: etcd.DefaultConfig(), auth: auth.DefaultConfig(), listen: "127.0.0.1:6440"}
}

// AddFlags implements settings.
func (s *storeSettings) AddFlags(fs *pflag.FlagSet) {
	s.Config.AddFlags(fs)
	s.etcd.AddFlags(fs)
	tokens := &s.auth.Tokens
	fs.StringSliceVar(&s.keyFiles, "service-account-key-file", nil, "PEM keys of service accounts' tokens: the first signs, all verify (repeatable); none: no tokens are issued")
	fs.StringSliceVar(&tokens.Issuers, "service-account-issuer", tokens.Issuers, "issuer of service accounts' tokens, and further ones whose tokens are accepted (repeatable)")
	fs.StringVar(&tokens.KeysURL, "service-account-jwks-uri", "", "URL of the keys that verify service accounts' tokens (default: /openid/v1/jwks at the issuer)")
	fs.DurationVar(&tokens.MaxLife, "service-account-max-token-expiration", 0, "longest life of service accounts' tokens; 0: 2^32 seconds")
	fs.BoolVar(&tokens.Extend, "service-account-extend-token-expiration", tokens.Extend, "let the tokens that pods get unasked work for a year, while their pod exists")
	fs.StringSliceVar(&tokens.Audiences, "api-audiences", nil, "whom tokens must be for to be let in (repeatable; default: the issuers)")
	fs.BoolVar(&s.auth.BootstrapTokens, "enable-bootstrap-token-auth", s.auth.BootstrapTokens, "let in Secrets of type bootstrap.kubernetes.io/token in kube-system")
	fs.StringVar(&s.staticTokenFile, "token-auth-file", "", "CSV file of fixed bearer tokens: token,user,uid,\"group,…\"")
	fs.StringVar(&s.etcd.Dir, "etcd-data-dir", s.etcd.Dir, "folder of the embedded etcd's data")
	fs.StringVar(&s.listen, "listen", s.listen, "address:port of the gRPC API, several separated by commas")
}

// Validate implements settings.
func (s *storeSettings) Validate() error {
	return errors.Join(s.Config.Validate(), s.etcd.Validate(), s.auth.Validate())
}

// access reads the files that the settings of access control name.
func (s *storeSettings) access() (auth.Config, error) {
	config := s.auth
	for _, path := range s.keyFiles {
		text, err := os.ReadFile(path)
		if err != nil {
			return config, fmt.Errorf("flag --service-account-key-file: %w", err)
		}
		keys, err := token.ParseKeys(text)
		if err != nil {
			return config, fmt.Errorf("flag --service-account-key-file: %s: %w", path, err)
		}
		config.Tokens.Keys = append(config.Tokens.Keys, keys...)
	}
	if keys := config.Tokens.Keys; len(keys) > 0 && !keys[0].Signs() {
		return config, fmt.Errorf("flag --service-account-key-file: the first key, in %s, must be a private one", s.keyFiles[0])
	}
	if s.staticTokenFile != "" {
		file, err := os.Open(s.staticTokenFile)
		if err != nil {
			return config, fmt.Errorf("flag --token-auth-file: %w", err)
		}
		defer func() { _ = file.Close() }()
		if config.Static, err = token.ReadStatic(file); err != nil {
			return config, fmt.Errorf("flag --token-auth-file: %w", err)
		}
	}
	return config, nil
}

func newStoreCommand() *cobra.Command {
	var config processConfig
	var traceMemory bool
	var auditing audit.Config
	settings := newStoreSettings()
	cmd := &cobra.Command{Use: "store", Short: "Run a Store, with an etcd of its own or an external one", Args: cobra.NoArgs}
	config.addFlags(cmd.Flags())
	settings.AddFlags(cmd.Flags())
	auditing.AddFlags(cmd.Flags())
	cmd.Flags().BoolVar(&traceMemory, "trace-memory", false, "take the cluster's spans and keep recent traces in memory")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := errors.Join(settings.Validate(), auditing.Validate()); err != nil {
			return usageError{err}
		}
		return runProcess(cmd.Context(), config, "", func(ctx context.Context, p *process) error {
			if traceMemory {
				p.memory = tracing.NewMemory()
			}
			return runStore(ctx, p, settings, auditing)
		})
	}
	return cmd
}

func runStore(ctx context.Context, p *process, settings *storeSettings, auditing audit.Config) error {
	tel, err := p.telemetry(ctx, "store")
	if err != nil {
		return err
	}
	log, err := p.auditLog(auditing, tel)
	if err != nil {
		return err
	}
	server := p.newStoreServer(tel, log)
	group := newGroup(ctx)
	if err := p.startStore(ctx, tel, group, server, settings); err != nil {
		return err
	}
	return group.wait()
}

// auditLog opens an audit log, which closes with the process; nil if there is to be
// none.
func (p *process) auditLog(config audit.Config, tel telemetry.Set) (*audit.Log, error) {
	if !config.Enabled() {
		return nil, nil
	}
	log, err := audit.New(config, tel)
	if err != nil {
		return nil, usageError{err}
	}
	p.closers = append(p.closers, func(context.Context) error { return log.Close() })
	return log, nil
}

// newStoreServer makes the server of a Store, whose calls are recorded if there is
// an audit log.
func (p *process) newStoreServer(tel telemetry.Set, log *audit.Log) *rpc.Server {
	options := p.serverOptions()
	if log != nil {
		recorder := calls.New(log)
		options.Unary, options.Stream = recorder.Unary, recorder.Stream
	}
	return rpc.NewServer(tel, options)
}

// startStore opens the backend, serves the Store on server and starts both.
func (p *process) startStore(ctx context.Context, tel telemetry.Set, group *group, server *rpc.Server, settings *storeSettings) error {
	listeners, err := listenAll(ctx, "listen", settings.listen)
	if err != nil {
		return err
	}
	backend, err := etcd.Open(ctx, settings.etcd, tel.Log)
	if err != nil {
		return err
	}
	p.closers = append(p.closers, func(context.Context) error { return backend.Close() })
	access, err := settings.access()
	if err != nil {
		return err
	}
	config := settings.Config
	config.Agents = newAgentDialer(p, p.bundle, tel)
	s, err := store.New(config, tel, backend, auth.New(access), auth.Bootstrap()...)
	if err != nil {
		return err
	}
	s.Register(server)
	if p.memory != nil {
		p.memory.Register(server)
	}
	server.SetServing("", false)
	group.run("store", s.Run)
	group.run("readiness", func(ctx context.Context) error {
		select {
		case <-s.Ready():
			server.SetServing("", true)
			server.SetServing(storev1.StoreService_ServiceDesc.ServiceName, true)
			<-ctx.Done()
		case <-ctx.Done():
		}
		return nil
	})
	group.serve(server, listeners)
	return nil
}
