/** The clients for which configurations are written; `podman` is also Buildah, skopeo and CRI-O. */
export const CLIENTS = ['containerd', 'docker', 'podman'] as const;
export type Client = (typeof CLIENTS)[number];
