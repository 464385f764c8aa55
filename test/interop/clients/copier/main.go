// Copies an image into an OCI layout by the engine of skopeo, podman, buildah and CRI-O, which no Go module has as a program.
//
//	copier REFERENCE FOLDER OS ARCHITECTURE REGISTRIES_CONF AUTHFILE
package main

import (
	"context"
	"fmt"
	"os"

	"go.podman.io/image/v5/copy"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/transports/alltransports"
	"go.podman.io/image/v5/types"
)

func run(args []string) error {
	source, err := alltransports.ParseImageName("docker://" + args[0])
	if err != nil {
		return err
	}
	target, err := alltransports.ParseImageName("dir:" + args[1])
	if err != nil {
		return err
	}
	policy, err := signature.NewPolicyContext(&signature.Policy{
		Default: []signature.PolicyRequirement{signature.NewPRInsecureAcceptAnything()},
	})
	if err != nil {
		return err
	}
	_, err = copy.Image(context.Background(), policy, target, source, &copy.Options{
		SourceCtx: &types.SystemContext{
			OSChoice:                    args[2],
			ArchitectureChoice:          args[3],
			SystemRegistriesConfPath:    args[4],
			AuthFilePath:                args[5],
			DockerInsecureSkipTLSVerify: types.OptionalBoolTrue,
		},
	})
	return err
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
